//! The signature that goes with an approval, where the host asks for one.
//!
//! `ssh-keygen -Y sign` makes it, so that keys in files, in an agent and in hardware work alike, and this program never
//! sees a private key. What is signed is a [`Statement`] that was compared with the plan on the screen.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use llm_os_core::approval::{NAMESPACE, Statement, signer};

use crate::exit::Failure;
use crate::held::Held;
use crate::output;
use crate::screen::{Screen, plain, say};

/// More than any signature.
const MAX_BYTES: u64 = 65_536;
const END: &str = "-----END SSH SIGNATURE-----";

/// How an approval is signed.
#[derive(Debug, Default, Args)]
pub(crate) struct SigningArgs {
    /// Signs the approval with this SSH key: a private key, or a public one whose private half an agent or a security key
    /// holds.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["statement", "signature"])]
    sign_with: Option<PathBuf>,
    /// Prints what is to be signed, for a key that is elsewhere, and decides nothing.
    #[arg(long, conflicts_with_all = ["signature", "yes"])]
    statement: bool,
    /// Approves by a signature that was made elsewhere, which is the yes: a file, or - for stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    signature: Option<PathBuf>,
}

/// What goes with an approval.
#[derive(Debug)]
pub(crate) enum Proof {
    /// Nothing: the host asks for no signature.
    None,
    /// Only what is to be signed is wanted.
    Print(Statement),
    /// It is signed once a human said yes.
    Sign(PathBuf, Statement),
    /// It was signed elsewhere.
    Made(String),
}

impl SigningArgs {
    /// Whether no question is to be asked: the signature is the answer, or none is wanted.
    pub(crate) fn decides(&self) -> bool {
        self.statement || self.signature.is_some()
    }

    /// The key with which the screen of all held plans signs.
    ///
    /// # Errors
    ///
    /// What is for one plan only.
    pub(crate) fn key_for_screen(&self) -> Result<Option<PathBuf>, Failure> {
        if self.decides() {
            let why =
                "--statement and --signature are about one plan: name it; what waits tells: llmsh pending";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(self.sign_with.clone())
    }

    /// What goes with an approval of this plan, once or for the session.
    ///
    /// # Errors
    ///
    /// A host that asks for a signature where none is offered, or for none where one is, or for one of another text.
    pub(crate) fn proof(&self, held: &Held, session: bool) -> Result<Proof, Failure> {
        let statement = held.statement(session);
        let statement =
            statement.map_err(|why| Failure::NoAnswer(format!("not signed, and not approved: {why}")))?;
        match (statement, &self.sign_with, &self.signature) {
            (None, None, None) if !self.statement => Ok(Proof::None),
            (None, _, _) => {
                let why =
                    "this host asks for no signature: leave out --sign-with, --statement and --signature";
                Err(Failure::Usage(why.to_owned()))
            }
            (Some(statement), Some(key), _) => Ok(Proof::Sign(key.clone(), statement)),
            (Some(_), None, Some(file)) => Ok(Proof::Made(read(file)?)),
            (Some(statement), None, None) if self.statement => Ok(Proof::Print(statement)),
            (Some(_), None, None) => {
                let id = plain(&held.pending_id);
                Err(Failure::NotApproved(format!(
                    "not approved: approvals on this host are signed: llmsh approve {id} --sign-with KEY (or, where the \
                     key is elsewhere, --statement and then --signature)"
                )))
            }
        }
    }
}

impl Proof {
    /// Prints what is to be signed, where only that is wanted.
    pub(crate) fn is_printed(&self) -> Result<bool, Failure> {
        let Self::Print(statement) = self else { return Ok(false) };
        output::print_text(&statement.to_string())?;
        Ok(true)
    }

    /// The signature that the host gets, made now where it is not there yet.
    pub(crate) fn signature(self) -> Result<Option<String>, Failure> {
        match self {
            Proof::None | Proof::Print(_) => Ok(None),
            Proof::Made(signature) => Ok(Some(signature)),
            Proof::Sign(key, statement) => {
                let statement = statement.to_string();
                let mut screen = Screen::default();
                screen.line(0, "What is signed:");
                statement.lines().for_each(|line| screen.foreign(2, line));
                screen.show();
                sign(&key, &statement).map(Some)
            }
        }
    }
}

/// Signs the statement of an approval. It may ask for a passphrase or a touch on the terminal.
///
/// # Errors
///
/// A text that is no statement, and whatever keeps `ssh-keygen` from making a signature of it.
#[allow(clippy::disallowed_methods, reason = "a person's own key signs in that person's own session")]
pub(crate) fn sign(key: &Path, statement: &str) -> Result<String, Failure> {
    let not_signed = |why: String| Failure::NotApproved(format!("not signed, and not approved: {why}"));
    let stated = Statement::read(statement);
    let stated = stated.ok_or_else(|| not_signed("the text is no statement of an approval".to_owned()))?;
    // In a file, since ssh-keygen asks for passphrases where stdin is a terminal.
    let place = tempfile::Builder::new().prefix("llmsh-sign-").tempdir();
    let place = place.map_err(|e| not_signed(format!("no temporary directory: {e}")))?;
    let (file, made) = (place.path().join("statement"), place.path().join("statement.sig"));
    fs::write(&file, statement).map_err(|e| not_signed(format!("{}: {e}", file.display())))?;
    let mut keygen = Command::new("ssh-keygen");
    keygen.stdout(Stdio::null()).args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key).arg(&file);
    let status = keygen.status().map_err(|e| {
        not_signed(format!(
            "ssh-keygen cannot be run ({e}): install it (Debian: apt-get install openssh-client)"
        ))
    })?;
    if !status.success() {
        let key = plain(&key.to_string_lossy());
        return Err(not_signed(format!(
            "ssh-keygen made no signature with {key} ({status}): see what it said above"
        )));
    }
    let signature = fs::read_to_string(&made).map_err(|e| not_signed(format!("{}: {e}", made.display())))?;
    signer(&stated, &signature).map_err(|e| not_signed(e.to_string()))?;
    Ok(signature)
}

/// A signature from a file, or as it is pasted: up to the line that ends it.
fn read(file: &Path) -> Result<String, Failure> {
    let wrong = |e: std::io::Error| Failure::Usage(format!("{}: {e}; nothing was approved", file.display()));
    let source: Box<dyn Read> = if file == Path::new("-") {
        if std::io::stdin().is_terminal() {
            say("Paste the signature, with its first and its last line:");
        }
        Box::new(std::io::stdin())
    } else {
        Box::new(fs::File::open(file).map_err(wrong)?)
    };
    let mut text = String::new();
    for line in BufReader::new(source.take(MAX_BYTES)).lines() {
        let line = line.map_err(wrong)?;
        let line = line.trim_end();
        if !(text.is_empty() && line.is_empty()) {
            text += &format!("{line}\n");
        }
        if line == END {
            break;
        }
    }
    Ok(text)
}
