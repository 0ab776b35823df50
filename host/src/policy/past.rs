//! Decisions of the past, read back from an audit log so that they can be made again.
//!
//! A record holds what its decision was made from: the effects with their facts and rules, whether a danger was stated, and who
//! asked; the roots stand in the record of the host's start before it. What was refused by the host itself no policy decides.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use llm_os_core::audit::{Event, Line, Problem, PublicKey, Verified, Verifier, segment_number, written};
use llm_os_core::capability::Root;
use llm_os_core::effect::{Effect, Fact, FactSpec, FactType, Identity, Resource};
use llm_os_core::name::ActionName;
use llm_os_core::policy::Decision;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::PolicyError;
use super::vocabulary::{Concrete, Vocabulary};
use crate::progress::Progress;

/// More than any record: what is longer was not written by a host.
const LONGEST: u64 = 16 << 20;

/// Everything that a log says was decided, each question once.
pub(crate) struct Past {
    pub(crate) questions: Vec<Question>,
    /// Records with a decision.
    pub(crate) decisions: u64,
    /// Decisions that cannot be made again, by why.
    pub(crate) left_out: BTreeMap<String, u64>,
    /// The roots that questions refer to.
    pub(crate) roots: Vec<Vec<Root>>,
    /// What the chain says of the log.
    pub(crate) verified: Result<Verified, Problem>,
    /// The held plans that a human denied, by their ids.
    pub(crate) denied: Vec<String>,
}

/// One question that was decided, however often.
pub(crate) struct Question {
    pub(crate) uid: u32,
    pub(crate) action: ActionName,
    pub(crate) danger: bool,
    pub(crate) effects: Vec<Effect>,
    /// The index of its roots.
    pub(crate) roots: usize,
    /// What was decided and by which policies, each with how often.
    pub(crate) decided: BTreeMap<Decided, Seen>,
}

/// A decision of the past.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    pub(crate) policies: Vec<String>,
    /// Whether a human approved it, and it was about to run.
    pub(crate) approved: bool,
    /// The held plan that it was part of.
    pub(crate) pending_id: Option<String>,
}

/// How often, and where for example.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) count: u64,
    pub(crate) first: Example,
    pub(crate) last_time: String,
}

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) seq: u64,
    pub(crate) time: String,
    pub(crate) request_id: Option<String>,
    pub(crate) why: Option<String>,
    pub(crate) approver: Option<u32>,
}

/// From when to when; as records spell time, which sorts as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
}

impl Span {
    fn holds(&self, time: &str) -> bool {
        self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
    }
}

#[derive(Deserialize)]
struct Record<'a> {
    time: String,
    request_id: Option<String>,
    who: Option<Who>,
    why: Option<String>,
    #[serde(borrow)]
    what: Option<What<'a>>,
    decision: Option<RecordedDecision>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Who {
    uid: u32,
}

#[derive(Deserialize)]
struct What<'a> {
    action: String,
    #[serde(default)]
    danger: bool,
    #[serde(borrow)]
    effects: &'a RawValue,
}

#[derive(Deserialize)]
struct RecordedDecision {
    decision: String,
    policies: Vec<Policy>,
    approved: Option<Approved>,
}

#[derive(Deserialize)]
struct Policy {
    policy: String,
}

#[derive(Deserialize)]
struct Approved {
    pending_id: String,
    approver: u32,
}

#[derive(Deserialize)]
struct RecordedEffect {
    verb: String,
    resource: RecordedResource,
    #[serde(default)]
    facts: Map<String, Value>,
    asks: Option<String>,
    refuses: Option<String>,
}

#[derive(Deserialize)]
struct RecordedResource {
    kind: String,
    id: String,
    display: Option<String>,
}

/// A reader that goes through the log once.
struct Reader<'a> {
    vocabulary: &'a Vocabulary,
    span: &'a Span,
    past: Past,
    /// By what makes two questions the same one.
    known: HashMap<String, usize>,
    roots: Option<usize>,
}

impl Past {
    /// Reads a log from its directory.
    ///
    /// # Errors
    ///
    /// A directory without a log, or one that cannot be read. A log that does not verify is read all the same, and said so.
    pub(crate) fn read(dir: &Path, span: &Span, vocabulary: &Vocabulary) -> Result<Self, PolicyError> {
        let segments = segments(dir)?;
        let length = segments.iter().filter_map(|path| path.metadata().ok()).map(|found| found.len()).sum();
        let progress = Progress::of_bytes("reading the log", length);
        let mut verifier = Some(match key(dir) {
            Some(key) => Verifier::new().key(key),
            None => Verifier::new(),
        });
        let mut problem = None;
        let past = Past {
            questions: Vec::new(),
            decisions: 0,
            left_out: BTreeMap::new(),
            roots: Vec::new(),
            verified: Ok(Verified::default()),
            denied: Vec::new(),
        };
        let mut reader = Reader { vocabulary, span, past, known: HashMap::new(), roots: None };
        let mut rest = Vec::new();
        for path in &segments {
            let refused = |e: std::io::Error| PolicyError::Read {
                name: path.display().to_string(),
                why: e.to_string(),
            };
            let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(refused)?);
            let mut line = Vec::new();
            loop {
                line.clear();
                file.by_ref().take(LONGEST).read_until(b'\n', &mut line).map_err(refused)?;
                progress.add(line.len() as u64);
                let Some((b'\n', record)) = line.split_last() else {
                    rest = written(&line).to_vec();
                    break;
                };
                if let Some(Err(found)) = verifier.as_mut().map(|verifier| verifier.line(record)) {
                    (problem, verifier) = (Some(found), None);
                }
                reader.line(record);
            }
        }
        reader.past.verified = match (problem, verifier) {
            (Some(problem), _) => Err(problem),
            (None, Some(verifier)) => verifier.finish(&rest),
            (None, None) => Ok(Verified::default()),
        };
        Ok(reader.past)
    }
}

impl Reader<'_> {
    fn line(&mut self, bytes: &[u8]) {
        let Some(line) = Line::read(bytes) else { return };
        let relevant = match line.event {
            Event::Start | Event::Rotated | Event::Denied => true,
            Event::Intent | Event::Planned | Event::Refused | Event::Held => true,
            Event::Stop
            | Event::Outcome
            | Event::Approved
            | Event::Granted
            | Event::Revoked
            | Event::TokenUsed
            | Event::TokenBurnt
            | Event::PolicyLoaded
            | Event::Cancelled
            | Event::Halted
            | Event::Resumed
            | Event::Interrupted
            | Event::Recovered
            | Event::Checkpoint
            | Event::Summary
            | Event::Retired => false,
        };
        if !relevant {
            return;
        }
        let Ok(record) = serde_json::from_slice::<Record<'_>>(line.bytes) else { return };
        match line.event {
            Event::Start | Event::Rotated => self.context(&record),
            Event::Denied => self.past.denied.extend(pending_id(&record)),
            _ => self.decision(line.event, line.seq, &record),
        }
    }

    /// The roots that what follows was decided with.
    fn context(&mut self, record: &Record<'_>) {
        #[derive(Deserialize)]
        struct Context {
            roots: Option<Vec<RecordedRoot>>,
        }
        #[derive(Deserialize)]
        struct RecordedRoot {
            path: PathBuf,
            mode: llm_os_core::RootMode,
        }
        let Some(data) = record.data.and_then(|data| serde_json::from_str::<Context>(data.get()).ok()) else {
            return;
        };
        let Some(roots) = data.roots else { return };
        let roots: Vec<_> =
            roots.into_iter().map(|RecordedRoot { path, mode }| Root { path, mode }).collect();
        let known = self.past.roots.iter().position(|known| *known == roots);
        self.roots = known.or_else(|| {
            self.past.roots.push(roots);
            Some(self.past.roots.len() - 1)
        });
    }

    fn decision(&mut self, event: Event, seq: u64, record: &Record<'_>) {
        let (Some(what), Some(decision), Some(who)) = (&record.what, &record.decision, &record.who) else {
            return;
        };
        if !self.span.holds(&record.time) {
            return;
        }
        self.past.decisions += 1;
        match self.question(what, who.uid) {
            Ok(index) => self.past.questions[index].seen(event, seq, record, decision),
            Err(why) => *self.past.left_out.entry(why).or_default() += 1,
        }
    }

    fn question(&mut self, what: &What<'_>, uid: u32) -> Result<usize, String> {
        let roots = self.roots.ok_or("the log says no roots before it")?;
        let key = format!("{uid} {roots} {} {} {}", what.action, what.danger, what.effects.get());
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let action = ActionName::new(&what.action).ok_or("the record names no action")?;
        let read = serde_json::from_str::<Vec<RecordedEffect>>(what.effects.get());
        let effects = read.map_err(|_| "its effects have another shape".to_owned())?;
        let effects =
            effects.into_iter().map(|effect| self.effect(&action, effect)).collect::<Result<_, _>>()?;
        let danger = what.danger;
        let question = Question { uid, action, danger, effects, roots, decided: BTreeMap::new() };
        self.past.questions.push(question);
        self.known.insert(key, self.past.questions.len() - 1);
        Ok(self.past.questions.len() - 1)
    }

    fn effect(&self, action: &ActionName, read: RecordedEffect) -> Result<Effect, String> {
        let RecordedEffect { verb, resource, facts, asks, refuses } = read;
        let concrete = self.vocabulary.of_action(action).find(|concrete| concrete.verb.as_str() == verb);
        let concrete = concrete.ok_or_else(|| format!("{action} with {verb} is not linked here"))?;
        let kind = concrete.kinds.iter().find(|kind| kind.as_str() == resource.kind);
        let kind =
            *kind.ok_or_else(|| format!("{action} with {verb} on a {} is not linked here", resource.kind))?;
        let resource = Resource { kind, id: resource.id, display: resource.display };
        let mut effect = Effect::new(concrete.verb, resource, Identity::of_id());
        (effect.asks, effect.refuses) = (asks.map(Into::into), refuses.map(Into::into));
        effect.facts =
            facts_of(concrete, &facts).ok_or_else(|| format!("{action} states other facts here"))?;
        Ok(effect)
    }
}

fn pending_id(record: &Record<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Pending {
        pending_id: Option<String>,
    }
    serde_json::from_str::<Pending>(record.data?.get()).ok()?.pending_id
}

fn facts_of(concrete: &Concrete, facts: &Map<String, Value>) -> Option<BTreeMap<&'static str, Fact>> {
    if facts.len() != concrete.facts.len() {
        return None;
    }
    let one = |(name, spec): (&&'static str, &FactSpec)| {
        let value = facts.get(*name)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let fact = match spec.ty {
            FactType::Bool => Fact::Bool(value.as_bool()?),
            FactType::Long => Fact::Long(value.as_i64()?),
            FactType::Text => Fact::Text(text(value)?),
            FactType::Set => Fact::Set(value.as_array()?.iter().map(text).collect::<Option<_>>()?),
        };
        Some((*name, fact))
    };
    concrete.facts.iter().map(one).collect()
}

impl Question {
    fn seen(&mut self, event: Event, seq: u64, record: &Record<'_>, recorded: &RecordedDecision) {
        let decision = match recorded.decision.as_str() {
            "allow" => Decision::Allow,
            "confirm" => Decision::Confirm,
            _ => Decision::Deny,
        };
        let mut policies: Vec<_> = recorded.policies.iter().map(|policy| policy.policy.clone()).collect();
        policies.dedup();
        let approved = recorded.approved.as_ref();
        let held = if event == Event::Held { pending_id(record) } else { None };
        let decided = Decided {
            decision,
            policies,
            approved: approved.is_some(),
            pending_id: approved.map(|approved| approved.pending_id.clone()).or(held),
        };
        let first = || Example {
            seq,
            time: record.time.clone(),
            request_id: record.request_id.clone(),
            why: record.why.clone(),
            approver: approved.map(|approved| approved.approver),
        };
        let new = || Seen { count: 0, first: first(), last_time: String::new() };
        let seen = self.decided.entry(decided).or_insert_with(new);
        seen.count += 1;
        seen.last_time.clone_from(&record.time);
    }
}

impl Decided {
    /// Whether the host itself refused it, by a rule that no policy can lift.
    pub(crate) fn is_refused_by_host(&self) -> bool {
        self.decision == Decision::Deny && self.policies.iter().any(|policy| policy == "host")
    }
}

/// The segments of a log, oldest first.
fn segments(dir: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    let refused = |why: String| PolicyError::Read { name: dir.display().to_string(), why };
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| refused(e.to_string()))? {
        let path = entry.map_err(|e| refused(e.to_string()))?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(segment_number);
        segments.extend(number.map(|number| (number, path)));
    }
    segments.sort();
    if segments.is_empty() {
        return Err(refused("it holds no audit log; name the directory with --audit".to_owned()));
    }
    Ok(segments.into_iter().map(|(_, path)| path).collect())
}

/// The key beside the log.
fn key(dir: &Path) -> Option<PublicKey> {
    PublicKey::parse(&std::fs::read_to_string(dir.parent()?.join("audit.pub")).ok()?)
}
