//! What a host is and can do.

use serde_json::json;

use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::output;

/// Prints that the host is there.
pub(crate) fn ping(host: &Host, pretty: bool) -> Result<Exit, Failure> {
    output::print(host.ask("host.ping", &json!({}), None)?.get(), pretty)?;
    Ok(Exit::Ok)
}

/// Prints what the host says of itself, or of one action.
pub(crate) fn describe(host: &Host, action: Option<String>, pretty: bool) -> Result<Exit, Failure> {
    let params = action.map_or_else(|| json!({}), |action| json!({"actions": [action]}));
    output::print(host.ask("host.describe", &params, None)?.get(), pretty)?;
    Ok(Exit::Ok)
}
