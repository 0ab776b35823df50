//! The bearer token of HTTP clients, and randomness for names.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use llm_os_core::Secret;
use llm_os_core::value::hex;
use sha2::{Digest, Sha256};

use crate::exit::Failure;

/// The variable that a token is read from.
pub(crate) const VARIABLE: &str = "LLMSH_MCP_TOKEN";
/// Shorter ones could be guessed.
const MIN_LENGTH: usize = 16;

/// What a client must show, of which only the digest is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token([u8; 32]);

impl Token {
    fn new(text: &Secret) -> Self {
        Self(Sha256::digest(text.expose().as_bytes()).into())
    }

    /// Whether it is the one that is shown. How long the answer takes tells nothing of it.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.0.iter().zip(shown).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

/// The token that was given by the file or by the environment, if any was.
pub(crate) fn given(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    let from_variable = std::env::var_os(VARIABLE).filter(|text| !text.is_empty());
    let (place, text) = match (file, from_variable) {
        (Some(file), _) => (file.display().to_string(), read(file)?),
        (None, Some(text)) => (VARIABLE.to_owned(), text.into_string().map_err(|_| not_a_token(VARIABLE))?),
        (None, None) => return Ok(None),
    };
    let is_token = text.len() >= MIN_LENGTH && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(Some(Token::new(&Secret::new(text)))) } else { Err(not_a_token(&place)) }
}

fn not_a_token(place: &str) -> Failure {
    Failure::Usage(format!(
        "{place}: expected a token of at least {MIN_LENGTH} printable ASCII characters without spaces; make one with: openssl rand -hex 32"
    ))
}

fn read(file: &Path) -> Result<String, Failure> {
    let unreadable = |e| Failure::Usage(format!("--token-file: cannot read {}: {e}", file.display()));
    let mut opened = File::open(file).map_err(unreadable)?;
    let mode = opened.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::Usage(format!(
            "--token-file: others may use {} (mode {mode:o}); close it with: chmod 600 {0}",
            file.display()
        )));
    }
    let mut text = String::new();
    opened.read_to_string(&mut text).map_err(unreadable)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// A fresh token in a file of mode 0600 that is named after the port.
pub(crate) fn fresh(port: u16) -> Result<(Token, PathBuf), Failure> {
    let text = Secret::new(random::<32>()?);
    let folder = folder().ok_or_else(|| {
        Failure::Usage(format!(
            "no place for a token: neither XDG_RUNTIME_DIR, XDG_STATE_HOME nor HOME is set; give one by --token-file or {VARIABLE}"
        ))
    })?;
    let path = folder.join(format!("mcp-{port}.token"));
    let unfinished = folder.join(format!("mcp-{port}.{}", std::process::id()));
    let write = || {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let _ = std::fs::remove_file(&unfinished);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(text.expose().as_bytes())?;
        std::fs::rename(&unfinished, &path)
    };
    write().map_err(|e| Failure::Usage(format!("cannot write the token to {}: {e}", path.display())))?;
    Ok((Token::new(&text), path))
}

/// Where fresh tokens lie.
fn folder() -> Option<PathBuf> {
    absolute("XDG_RUNTIME_DIR").map(|folder| folder.join("llmsh")).or_else(state)
}

/// What this program keeps for its user.
pub(super) fn state() -> Option<PathBuf> {
    let home = || std::env::home_dir().filter(|home| home.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")));
    state.map(|folder| folder.join("llmsh"))
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// As many random bytes, in hexadecimal.
pub(crate) fn random<const BYTES: usize>() -> Result<String, Failure> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| Failure::Usage(format!("cannot read /dev/urandom: {e}")))?;
    Ok(hex(&bytes))
}
