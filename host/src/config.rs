//! The configuration: a strict TOML file with flags over it.
//!
//! Every table refuses unknown keys, and the error names the line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use llm_os_core::RootMode;
use llm_os_core::error::excerpt;
use llm_os_core::json::Json;
use serde::Deserialize;

use crate::display::DisplayConfig;

/// The file, as it is written. See docs/configuration.md.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) socket: Option<PathBuf>,
    pub(crate) approval_socket: Option<PathBuf>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) policy: Option<String>,
    /// Who may send plans; the host's own user where absent.
    pub(crate) plan_uids: Option<Vec<u32>>,
    /// Who may approve; the host's own user where absent.
    pub(crate) approver_uids: Option<Vec<u32>>,
    /// The group (gid) that may reach the sockets where other users are listed.
    pub(crate) socket_gid: Option<u32>,
    pub(crate) roots: Vec<RootConfig>,
    pub(crate) limits: Limits,
    pub(crate) confirmation: Confirmation,
    pub(crate) audit: Audit,
    pub(crate) display: DisplayConfig,
    pub(crate) capabilities: BTreeMap<String, toml::Value>,
}

/// A directory below which plans may name files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootConfig {
    pub(crate) path: PathBuf,
    pub(crate) mode: RootMode,
}

/// Bounds. Times are in milliseconds or seconds, as the name says.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) request_bytes: usize,
    pub(crate) response_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) running: usize,
    pub(crate) queued: usize,
    pub(crate) frame_ms: u64,
    pub(crate) write_ms: u64,
    pub(crate) idle_s: u64,
    pub(crate) plan_s: u64,
    pub(crate) stop_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 65_536,
            response_bytes: 32 << 20,
            connections: 256,
            running: 16,
            queued: 64,
            frame_ms: 5_000,
            write_ms: 10_000,
            idle_s: 600,
            plan_s: 600,
            stop_s: 10,
        }
    }
}

/// Held plans.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Confirmation {
    /// How long a plan stays held.
    pub(crate) pending_s: u64,
    /// The most held plans of one user.
    pub(crate) max_pending: usize,
    /// How long the same again is granted to a session.
    pub(crate) grant_s: u64,
    /// The file of those whose signatures approve, relative to this one's directory; without it none are asked for.
    pub(crate) approvers: Option<PathBuf>,
}

impl Default for Confirmation {
    fn default() -> Self {
        Self { pending_s: 3_600, max_pending: 16, grant_s: 3_600, approvers: None }
    }
}

/// The audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Audit {
    /// A segment that is longer is closed and a new one begun.
    pub(crate) segment_bytes: u64,
    /// A signed checkpoint after so many records.
    pub(crate) checkpoint_records: u64,
    /// The group whose members may read the log.
    pub(crate) readers_group: Option<Group>,
    /// Closed segments whose last record is older are removed; without it everything is kept.
    pub(crate) retention: Option<Age>,
    /// Whether what records only digest is kept beside the log.
    pub(crate) evidence: bool,
    /// The most bytes of evidence; the oldest goes first.
    pub(crate) evidence_quota: u64,
    /// How long evidence is kept, such as "30days"; as long as there is room where absent.
    pub(crate) evidence_retention: Option<Age>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            checkpoint_records: 1_024,
            readers_group: None,
            retention: None,
            evidence: false,
            evidence_quota: 1 << 30,
            evidence_retention: None,
        }
    }
}

/// A group: its gid, or its name in /etc/group.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a gid or the name of a group")]
pub(crate) enum Group {
    Gid(u32),
    Name(String),
}

impl Group {
    /// The gid.
    ///
    /// # Errors
    ///
    /// A name that /etc/group does not have.
    pub(crate) fn gid(&self) -> Result<u32, String> {
        let name = match self {
            Group::Gid(gid) => return Ok(*gid),
            Group::Name(name) => name,
        };
        let groups = std::fs::read_to_string("/etc/group").map_err(|e| format!("/etc/group: {e}"))?;
        let gid = |line: &str| {
            let mut fields = line.split(':');
            let gid = (fields.next() == Some(name)).then(|| fields.nth(1))??;
            gid.parse().ok()
        };
        groups
            .lines()
            .find_map(gid)
            .ok_or_else(|| format!("found \"{}\", expected a group of /etc/group, or a gid", excerpt(name)))
    }
}

/// A time such as `90days`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Age(pub(crate) Duration);

impl TryFrom<String> for Age {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let age = humantime::parse_duration(&text).ok().filter(|age| !age.is_zero());
        age.map(Self).ok_or_else(|| format!("found \"{}\", expected a time such as 90days", excerpt(&text)))
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Parse { path: PathBuf, source: toml::de::Error },
    #[error("{path}: {field}: {why}")]
    Value { path: PathBuf, field: &'static str, why: String },
}

/// A field and what is wrong with it.
type Refused = (&'static str, String);

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is not TOML, has an unknown key or a value out of bounds.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self =
            toml::from_str(text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })?;
        config.check().map_err(|(field, why)| ConfigError::Value { path: path.to_owned(), field, why })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Refused> {
        let Limits { request_bytes, response_bytes, connections, running, queued, .. } = self.limits;
        let Limits { frame_ms, write_ms, idle_s, plan_s, stop_s, .. } = self.limits;
        fn within<T: PartialOrd + Display>(
            field: &'static str,
            value: T,
            low: T,
            high: T,
        ) -> Result<(), Refused> {
            let fits = (&low..=&high).contains(&&value);
            if fits { Ok(()) } else { Err((field, format!("{value} is not in {low}..={high}"))) }
        }
        within("limits.request_bytes", request_bytes, 1_024, 1 << 20)?;
        within("limits.response_bytes", response_bytes, 65_536, 1 << 30)?;
        within("limits.connections", connections, 1, 65_536)?;
        within("limits.running", running, 1, 4_096)?;
        within("limits.queued", queued, 0, 65_536)?;
        within("limits.frame_ms", frame_ms, 10, 600_000)?;
        within("limits.write_ms", write_ms, 10, 600_000)?;
        within("limits.idle_s", idle_s, 1, 86_400)?;
        within("limits.plan_s", plan_s, 1, 86_400)?;
        within("limits.stop_s", stop_s, 0, 3_600)?;
        within("confirmation.pending_s", self.confirmation.pending_s, 1, 604_800)?;
        within("confirmation.max_pending", self.confirmation.max_pending, 1, 1_024)?;
        within("confirmation.grant_s", self.confirmation.grant_s, 1, 86_400)?;
        within("audit.segment_bytes", self.audit.segment_bytes, 65_536, 1 << 40)?;
        within("audit.checkpoint_records", self.audit.checkpoint_records, 1, 1 << 20)?;
        within("audit.evidence_quota", self.audit.evidence_quota, 65_536, 1 << 50)?;
        if self.audit.evidence_retention.is_some_and(|life| life.0 < Duration::from_secs(1)) {
            return Err((
                "audit.evidence_retention",
                "it is below 1s: leave evidence off instead".to_owned(),
            ));
        }
        let uids = |list: &Option<Vec<u32>>| list.as_ref().is_some_and(Vec::is_empty);
        if uids(&self.plan_uids) || uids(&self.approver_uids) {
            return Err((
                "plan_uids/approver_uids",
                "an empty list lets nobody in; leave it out instead".to_owned(),
            ));
        }
        if self.display.own.is_some() && self.display.name.is_some() {
            let why = "found both virtual and name, expected one of them: a host drives one display";
            return Err(("display", why.to_owned()));
        }
        Ok(())
    }

    /// The tables of the capabilities, as their typed configurations read them.
    ///
    /// # Errors
    ///
    /// A value that JSON does not have.
    pub(crate) fn capability_tables(&self) -> Result<BTreeMap<String, Json>, String> {
        let table = |(name, value): (&String, &toml::Value)| {
            let text = serde_json::to_string(value).map_err(|e| format!("capabilities.{name}: {e}"))?;
            let json = Json::parse(text.as_bytes()).map_err(|e| format!("capabilities.{name}: {e}"))?;
            Ok((name.clone(), json))
        };
        self.capabilities.iter().map(table).collect()
    }
}

/// The line of a key such as `capabilities.exec.env_allow`, for errors about tables that others read.
pub(crate) fn line_of(text: &str, dotted: &str) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut found = None;
    for part in dotted.split(['.', '[']) {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == part) else { break };
        found = Some(key.span().start);
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    Some(text[..found?].matches('\n').count() + 1)
}

impl Limits {
    pub(crate) fn frame(&self) -> Duration {
        Duration::from_millis(self.frame_ms)
    }

    pub(crate) fn write(&self) -> Duration {
        Duration::from_millis(self.write_ms)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Config::parse(text, Path::new("llm-osd.toml")).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = refusal("policy = \"preset:strict\"\n\n[limits]\nrequest_byte = 1\n");
        assert!(error.contains("line 4") && error.contains("request_byte"), "{error}");
    }

    #[test]
    fn the_example_in_the_documentation_is_accepted() {
        let page = include_str!("../../docs/configuration.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let config = Config::parse(example, Path::new("configuration.md")).unwrap();
        let tables = config.capability_tables().unwrap();
        let mut registry = llm_os_core::Registry::linked().unwrap();
        registry.open(&tables, &llm_os_core::Setup::default()).unwrap();
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_by_name() {
        assert!(refusal("[limits]\nconnections = 0\n").contains("limits.connections"));
        assert!(refusal("plan_uids = []\n").contains("plan_uids"));
        assert!(refusal("[audit]\nevidence_quota = 1\n").contains("audit.evidence_quota: 1 is not in 65536"));
        assert!(refusal("[audit]\nevidence_retention = \"500ms\"\n").contains("audit.evidence_retention"));
        assert!(refusal("[audit]\nevidence_retention = \"a week\"\n").contains("such as 90days"));
        assert!(refusal("[display]\nvirtual = \"63x800\"\n").contains("64 to 16384"));
        assert!(refusal("[display]\nvirtual = \"640x480\"\nname = \":0\"\n").contains("display: found both"));
    }

    #[test]
    fn the_line_of_a_capabilitys_key_is_found() {
        let text = "[capabilities.exec]\npath = \"/bin\"\nwrong = 1\n";
        assert_eq!(line_of(text, "capabilities.exec.wrong"), Some(3));
    }
}
