//! Which records are shown.

use std::collections::BTreeSet;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use llm_os_core::audit::{Event, Line};
use memchr::memmem::Finder;
use serde_json::Value;

use crate::audit::about;
use crate::exit::Failure;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FilterArgs {
    /// Of this request.
    #[arg(long, value_name = "ID")]
    pub(super) request: Option<String>,
    /// Of this session.
    #[arg(long, value_name = "ID")]
    pub(super) session: Option<String>,
    /// About this action, such as fs.read.
    #[arg(long, value_name = "ACTION")]
    pub(super) action: Option<String>,
    /// With this decision.
    #[arg(long, value_enum)]
    pub(super) decision: Option<DecisionArg>,
    /// Not before this time: RFC 3339 in UTC (2026-11-23T05:00:00Z), or so long ago (90s, 2h, 1day).
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecisionArg {
    Allow,
    Confirm,
    Deny,
}

impl DecisionArg {
    fn as_str(self) -> &'static str {
        match self {
            DecisionArg::Allow => "allow",
            DecisionArg::Confirm => "confirm",
            DecisionArg::Deny => "deny",
        }
    }
}

/// A filter that goes through a log once.
#[derive(Debug)]
pub(super) struct Filter {
    args: FilterArgs,
    /// As records spell time, which sorts as text.
    since: Option<String>,
    until: Option<String>,
    /// What the bytes of every record that matches hold.
    everywhere: Vec<Finder<'static>>,
    /// What the bytes of a record hold that says what was decided about what.
    about: Vec<Finder<'static>>,
    /// Runs and places of the intents that matched: their outcomes do not repeat what was decided about what.
    matched: BTreeSet<(String, u64)>,
}

impl Filter {
    pub(super) fn new(args: &FilterArgs, now: SystemTime) -> Result<Self, Failure> {
        let time = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
        let quoted = |wanted: &Option<String>| {
            // What records spell with an escape is left to the filter itself.
            let is_plain = |w: &&String| w.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
            let plain = wanted.as_ref().filter(is_plain)?;
            Some(Finder::new(&format!("\"{plain}\"")).into_owned())
        };
        let decision = args.decision.map(|decision| Finder::new(decision.as_str()).into_owned());
        Ok(Self {
            since: time(&args.since)?,
            until: time(&args.until)?,
            everywhere: [&args.request, &args.session].into_iter().filter_map(quoted).collect(),
            about: quoted(&args.action).into_iter().chain(decision).collect(),
            args: args.clone(),
            matched: BTreeSet::new(),
        })
    }

    /// Whether a record with these bytes may match; cheap, since nothing is parsed.
    pub(super) fn may_match(&self, line: &Line<'_>) -> bool {
        let has = |finder: &Finder<'_>| finder.find(line.bytes).is_some();
        let ends = matches!(line.event, Event::Outcome | Event::Interrupted);
        self.is_in_time(line.time)
            && self.everywhere.iter().all(has)
            && if ends && self.is_about_something() {
                !self.matched.is_empty()
            } else {
                self.about.iter().all(has)
            }
    }

    fn is_in_time(&self, time: &str) -> bool {
        self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
    }

    /// Whether it asks what was decided about what.
    fn is_about_something(&self) -> bool {
        self.args.action.is_some() || self.args.decision.is_some()
    }

    pub(super) fn matches(&mut self, record: &Value) -> bool {
        let is = |field: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| record[field].as_str() == Some(wanted))
        };
        self.is_in_time(record["time"].as_str().unwrap_or_default())
            && is("request_id", &self.args.request)
            && is("session_id", &self.args.session)
            && self.is_about(record)
    }

    fn is_about(&mut self, record: &Value) -> bool {
        if !self.is_about_something() {
            return true;
        }
        let place = record["run"].as_str().map(str::to_owned).zip(about::index(record));
        if record["event"] == "outcome" || record["event"] == "interrupted" {
            return place.is_some_and(|place| self.matched.remove(&place));
        }
        let action = self.args.action.as_deref();
        let action = action.is_none_or(|action| about::actions(record).any(|named| named == action));
        let decision = self.args.decision;
        let decision = decision.is_none_or(|decision| record["decision"]["decision"] == decision.as_str());
        let is_about = action && decision;
        if is_about && record["event"] == "intent" {
            self.matched.extend(place);
        }
        is_about
    }
}

fn moment(text: &str, now: SystemTime) -> Result<String, Failure> {
    let ago = || humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago));
    let time = humantime::parse_rfc3339_weak(text).ok().or_else(ago).ok_or_else(|| {
        Failure::Usage(format!(
            "{text:?} is not a time: write 2026-11-23T05:00:00Z, or so long ago: 90s, 2h, 1day"
        ))
    })?;
    Ok(humantime::format_rfc3339_micros(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn shown(args: FilterArgs, records: &[Value]) -> Vec<usize> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let mut filter = Filter::new(&args, now).unwrap();
        (0..records.len()).filter(|n| filter.matches(&records[*n])).collect()
    }

    fn records() -> Vec<Value> {
        let at = |seconds: u64| {
            humantime::format_rfc3339_micros(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
                .to_string()
        };
        vec![
            json!({"time": at(10), "event": "intent", "request_id": "r-1", "session_id": null, "run": "a",
                   "what": {"action": "fs.read", "index": 0}, "decision": {"decision": "allow"}}),
            json!({"time": at(20), "event": "intent", "request_id": "r-2", "session_id": "s-1", "run": "b",
                   "what": {"action": "exec.run", "index": 0}, "decision": {"decision": "confirm"}}),
            json!({"time": at(30), "event": "outcome", "request_id": "r-1", "session_id": null, "run": "a", "data": {"index": 0}}),
            json!({"time": at(40), "event": "outcome", "request_id": "r-2", "session_id": "s-1", "run": "b", "data": {"index": 0}}),
            json!({"time": at(50), "event": "refused", "request_id": "r-3", "session_id": null, "data": {"actions": ["fs.read", "x.y"]}}),
        ]
    }

    #[test]
    fn every_filter_must_match_and_outcomes_follow_their_intents() {
        let text = |text: &str| Some(text.to_owned());
        let all = records();
        let check = |args: FilterArgs, expected: &[usize]| {
            assert_eq!(shown(args.clone(), &all), expected, "{args:?}");
        };
        let none = FilterArgs::default;
        check(none(), &[0, 1, 2, 3, 4]);
        check(FilterArgs { request: text("r-1"), ..none() }, &[0, 2]);
        check(FilterArgs { session: text("s-1"), ..none() }, &[1, 3]);
        check(FilterArgs { action: text("fs.read"), ..none() }, &[0, 2, 4]);
        check(FilterArgs { decision: Some(DecisionArg::Confirm), ..none() }, &[1, 3]);
        check(FilterArgs { action: text("fs.read"), decision: Some(DecisionArg::Confirm), ..none() }, &[]);
        check(
            FilterArgs { since: text("1970-01-01T00:00:20Z"), until: text("1970-01-01 00:00:40"), ..none() },
            &[1, 2],
        );
        check(FilterArgs { since: text("60s"), ..none() }, &[3, 4]);
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        let args = FilterArgs { since: Some("yesterday".to_owned()), ..FilterArgs::default() };
        let why = Filter::new(&args, SystemTime::now()).unwrap_err().to_string();
        assert!(why.contains("yesterday") && why.contains("2h"), "{why}");
    }
}
