//! The approver's side: what waits, and the decision about it.

mod keys;
mod layout;
mod picture;
mod question;
mod screen;
mod sheet;
mod state;
mod view;
mod watch;

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::cli::ApproveArgs;
use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::frames::{Frames, unreadable};
use crate::output::{self, Form};
use crate::pending;
use crate::screen::{plain, say};
use crate::text::{sentence, word};

/// Shows a plan completely, asks, and prints the token; without a plan, shows all that wait.
pub(crate) fn approve(host: &Host, args: &ApproveArgs) -> Result<Exit, Failure> {
    let has_human = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let is_named = args.plan.is_some() || args.id.is_some();
    if is_named && !args.yes && !has_human && !args.signing.decides() {
        let why = "approving asks a human: run it with stdin and stderr on a terminal, or decide by --yes";
        return Err(Failure::Usage(why.to_owned()));
    }
    let output = match (&args.plan, &args.id) {
        (Some(file), _) => hold(host, file, args.uid)?,
        (None, Some(id)) => pending::one(host, id)?,
        (None, None) if args.yes => {
            return Err(Failure::Usage("--yes names no plan; what waits tells: llmsh pending".to_owned()));
        }
        (None, None) => return screen::run(host, args.signing.key_for_screen()?),
    };
    let (held, screen) = pending::shown(&output, "not shown, and not approved")?;
    screen.show();
    if args.for_session {
        let grant = held.grant().map_err(|why| {
            let why = plain(why);
            Failure::NotApproved(format!("not approved: {why}; approve it once, without --for-session"))
        })?;
        say("Approved for its session, this runs without asking, until the host's time for grants is over:");
        grant.iter().for_each(|permits| say(&format!("    | {}", plain(permits))));
    }
    let proof = args.signing.proof(&held, args.for_session)?;
    if proof.is_printed()? {
        return Ok(Exit::Ok);
    }
    let verdict = if args.yes || args.signing.decides() { Verdict::Yes } else { ask_human() };
    let id = &held.pending_id;
    match verdict {
        Verdict::Yes => {
            #[derive(Deserialize)]
            struct Token {
                token: String,
                expires_in_s: u64,
                grant: Option<Grant>,
            }
            #[derive(Deserialize)]
            struct Grant {
                grant_id: String,
                expires_in_s: u64,
            }
            let mut params = json!({"pending_id": id, "sha256": held.sha256});
            if args.for_session {
                params["session"] = json!(true);
            }
            if let Some(signature) = proof.signature()? {
                params["signature"] = json!(signature);
            }
            let output = host.ask("host.approve", &params, None)?;
            let Token { token, expires_in_s, grant } =
                serde_json::from_str(output.get()).map_err(|e| Failure::other_shape("token", &e))?;
            writeln!(std::io::stdout().lock(), "{}", plain(&token)).map_err(Failure::Stdout)?;
            say(&format!(
                "approved: it runs once, within {expires_in_s} s, with this token in \"confirmation\"; who waits \
                 (llmsh send --wait) has it already"
            ));
            if let Some(Grant { grant_id, expires_in_s }) = grant {
                let id = plain(&grant_id);
                say(&format!("granted to its session for {expires_in_s} s; end it with: llmsh revoke {id}"));
            }
            Ok(Exit::Ok)
        }
        Verdict::No => {
            host.ask("host.deny", &json!({"pending_id": id}), None)?;
            Err(Failure::NotApproved(format!("denied: {} will not run", plain(id))))
        }
        Verdict::None => {
            let id = plain(id);
            Err(Failure::NotApproved(format!(
                "not approved: {id} still waits; deny it with: llmsh deny {id}"
            )))
        }
    }
}

/// Denies a held plan.
pub(crate) fn deny(host: &Host, id: &str, form: Form) -> Result<Exit, Failure> {
    #[derive(Deserialize)]
    struct Denied {
        denied: bool,
    }
    let answer = host.ask("host.deny", &json!({"pending_id": id}), None)?;
    output::tell(answer.get(), form, |Denied { denied }| {
        let id = word(id);
        sentence(&if denied { format!("denied: {id} will not run") } else { format!("{id} was not denied") })
    })?;
    Ok(Exit::Ok)
}

/// Hands over a plan that was not sent yet.
fn hold(host: &Host, file: &Path, uid: Option<u32>) -> Result<Box<RawValue>, Failure> {
    #[derive(Serialize)]
    struct Hold<'a> {
        plan: &'a RawValue,
        uid: u32,
    }
    let wrong = |why: String| Failure::Usage(format!("{}: {why}; nothing was approved", file.display()));
    let mut frames = Frames::open(file)?;
    let frame =
        frames.next().ok_or_else(|| wrong("holds no plan".to_owned()))?.map_err(|e| unreadable(file, &e))?;
    if frames.next().is_some() {
        return Err(wrong("holds more than one plan; approve each on its own".to_owned()));
    }
    let plan = serde_json::from_slice(&frame).map_err(|e| wrong(format!("not a plan: {e}")))?;
    host.ask(
        "host.hold",
        &Hold { plan, uid: uid.unwrap_or_else(|| rustix::process::getuid().as_raw()) },
        None,
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Yes,
    No,
    /// Nothing was said, or nothing that can be taken for either.
    None,
}

fn ask_human() -> Verdict {
    // What was typed before the plan was on the screen is no answer to it.
    if rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush).is_err() {
        return Verdict::None;
    }
    let asked = std::io::stderr().lock().write_all(b"Approve exactly this? [y/N] ");
    if asked.is_ok() { verdict(std::io::stdin().lock()) } else { Verdict::None }
}

/// Only a whole line that says yes is a yes: an end of input in the middle of one is none.
fn verdict(mut input: impl BufRead) -> Verdict {
    let mut line = String::new();
    match input.read_line(&mut line).ok().and_then(|_| line.strip_suffix('\n')) {
        Some("y" | "Y" | "yes") => Verdict::Yes,
        Some("n" | "N" | "no") => Verdict::No,
        _ => Verdict::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_approves() {
        // C16
        let check = |input: &[u8], expected| assert_eq!(verdict(input), expected, "{}", input.escape_ascii());
        check(b"y\n", Verdict::Yes);
        check(b"yes\n", Verdict::Yes);
        check(b"n\n", Verdict::No);
        for nothing in
            [b"".as_slice(), b"\n", b"y", b"yes please\n", b" y\n", b"\x1b[Ay\n", b"\xff\n", b"yy\n", b"q\n"]
        {
            check(nothing, Verdict::None);
        }
    }
}
