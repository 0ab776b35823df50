//! What sessions may do again without asking.

use serde_json::json;

use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::output;

/// Lists the grants that hold.
pub(crate) fn list(host: &Host, pretty: bool) -> Result<Exit, Failure> {
    output::print(host.ask("host.grants", &json!({}), None)?.get(), pretty)?;
    Ok(Exit::Ok)
}

/// Ends a grant at once.
pub(crate) fn revoke(host: &Host, id: &str, pretty: bool) -> Result<Exit, Failure> {
    output::print(host.ask("host.revoke", &json!({"grant_id": id}), None)?.get(), pretty)?;
    Ok(Exit::Ok)
}
