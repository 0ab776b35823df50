//! Test a capability through the real pipeline in a few lines.
//!
//! A [`World`] holds one capability, a temporary directory as its write root, a policy that is a closure, and an audit
//! log in memory. Everything between the frame and the capability is what the host runs.
//!
//! ```
//! # use llm_os_core::*; use llm_os_core::capability::NoConfig; use schemars::JsonSchema; use serde::*;
//! # struct Clock;
//! # #[derive(Deserialize, JsonSchema)] #[serde(rename_all = "snake_case", deny_unknown_fields)] enum Action {
//! #   /// Reads the clock.
//! #   Now {} }
//! # #[derive(Serialize, JsonSchema)] #[serde(rename_all = "snake_case")] enum Output { Now { seconds: u64 } }
//! # impl Effectful for Action { fn effects(&self) -> Effects {
//! #   Effects::one(Effect::new(Verb::Observe, Resource::new(Kind::Device, "clock"), Identity::of_id())) } }
//! # impl Capability for Clock {
//! #   const NAME: &'static str = "clock";
//! #   const ACTIONS: &'static [ActionSpec] = &[ActionSpec { verb: "now", errors: &[],
//! #     effects: &[EffectSpec { verb: Verb::Observe, kind: Kind::Device, facts: &[] }],
//! #     examples: &[Example { doc: "What time is it?", params: "{}" }] }];
//! #   type Config = NoConfig; type Action = Action; type Resolved = Action; type Output = Output;
//! #   fn open(_: NoConfig, _: &Setup) -> Result<Self, Fault> { Ok(Clock) }
//! #   fn resolve(&self, action: Action) -> Result<Action, Fault> { Ok(action) }
//! #   async fn execute(&self, _: Granted<Action>, _: &Context) -> Result<Output, Fault> { Ok(Output::Now { seconds: 7 }) }
//! # }
//! use llm_os_test_support::World;
//! use serde_json::json;
//!
//! let world = World::of::<Clock>();
//! world.check("clock.now", json!({}), json!({"seconds": 7}));
//! world.keeps_the_contract();
//! ```

mod patch;
mod swap;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llm_os_core::audit::{Approved, Entry, Evidence, Who};
use llm_os_core::capability::Mode;
use llm_os_core::evidence::Picture;
use llm_os_core::json::Json;
use llm_os_core::name::{ActionName, Id};
use llm_os_core::pipeline::{
    self, Approvals, Asked, Claim, Door, Durable, HeldPlan, Ledger, Limits, Parsed, Pending,
};
use llm_os_core::policy::{Query, Reason};
use llm_os_core::request::Request;
use llm_os_core::{
    Binary, Capability, Code, ConnectionId, Decision, Effect, Fault, Judge, Keeper, Principal, Profile,
    Reach, Registration, Registry, Root, Ruling, Secret, Setup, Verb,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub use patch::patched;
pub use swap::Swapper;

type Rule = dyn Fn(Query<'_>) -> Decision + Send + Sync;
type ProfileOf = dyn Fn(&Effect) -> Profile + Send + Sync;

/// One capability behind the real pipeline.
pub struct World {
    dir: TempDir,
    registry: Registry,
    rules: Arc<Rules>,
    ledger: Memory,
    approvals: Desk,
    evidence: Option<Arc<Kept>>,
    runtime: Runtime,
    /// The bounds of the next plans.
    pub limits: Limits,
}

impl World {
    /// A capability with its default configuration, a temporary write root, and a policy that allows everything.
    ///
    /// # Panics
    ///
    /// Where the capability breaks its contract or is unavailable; the message says how.
    pub fn of<C: Capability>() -> Self {
        Self::configured::<C>(json!({}), &[])
    }

    /// The same with a configuration and more roots beside the temporary one.
    ///
    /// # Panics
    ///
    /// As [`World::of`], and where the configuration does not fit.
    pub fn configured<C: Capability>(config: Value, roots: &[Root]) -> Self {
        let (world, unavailable) = Self::opened::<C>(config, roots);
        assert_eq!(unavailable, None, "{} is unavailable", C::NAME);
        world
    }

    /// The same, and why the capability is unavailable where it is.
    ///
    /// # Panics
    ///
    /// Where the capability breaks its contract or the configuration does not fit.
    pub fn opened<C: Capability>(config: Value, roots: &[Root]) -> (Self, Option<String>) {
        Self::set_up::<C>(config, Setup { roots: roots.to_vec(), ..Setup::default() })
    }

    /// The same with everything else that a host tells a capability, such as its display.
    ///
    /// # Panics
    ///
    /// Where the capability breaks its contract or the configuration does not fit.
    pub fn set_up<C: Capability>(config: Value, setup: Setup) -> (Self, Option<String>) {
        let dir = tempfile::Builder::new().prefix("llm-os-").tempdir().expect("a temporary directory");
        let own = dir.path().canonicalize().expect("the temporary directory's real path");
        let own = Root { path: own, mode: Mode::Write };
        let setup = Setup { roots: [vec![own], setup.roots].concat(), ..setup };
        let of_mode =
            |mode| setup.roots.iter().filter(move |root| root.mode == mode).map(|root| root.path.clone());
        let reach = Reach {
            read: of_mode(Mode::Read).collect(),
            write: of_mode(Mode::Write).collect(),
            ..Reach::default()
        };
        let registration: &'static Registration = Box::leak(Box::new(Registration::of::<C>()));
        let mut registry = Registry::of([registration]).unwrap_or_else(|e| panic!("{e}"));
        let config = Json::parse(config.to_string().as_bytes()).expect("a configuration without null");
        let configs = BTreeMap::from([(C::NAME.to_owned(), config)]);
        registry.open(&configs, &setup).unwrap_or_else(|e| panic!("{e}"));
        let unavailable = registry.unavailable(C::NAME).map(str::to_owned);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let world = Self {
            dir,
            registry,
            rules: Arc::new(Rules {
                rule: Mutex::new(Arc::new(|_| Decision::Allow)),
                covers: Mutex::new(false),
                clear: Mutex::new(false),
                reach: Mutex::new(reach),
                profile: Mutex::new(Box::new(|_| Profile::default())),
            }),
            ledger: Memory::default(),
            approvals: Desk::default(),
            evidence: None,
            runtime: runtime.expect("a runtime"),
            limits: Limits::default(),
        };
        (world, unavailable)
    }

    /// The real path of the temporary write root.
    ///
    /// # Panics
    ///
    /// Where the directory is gone.
    pub fn root(&self) -> std::path::PathBuf {
        self.dir.path().canonicalize().expect("the temporary directory's real path")
    }

    /// The absolute path of something below the root, for params.
    ///
    /// # Panics
    ///
    /// Where the name is not UTF-8.
    pub fn at(&self, name: impl AsRef<Path>) -> String {
        self.root().join(name).to_str().expect("a name in UTF-8").to_owned()
    }

    /// Replaces the policy. It sees every effect; `asks` is added by the pipeline as in the host.
    pub fn judge(&self, rule: impl Fn(Query<'_>) -> Decision + Send + Sync + 'static) {
        *held(&self.rules.rule) = Arc::new(rule);
    }

    /// Lets the policy say that one ruling covers a subtree.
    pub fn judge_covers_subtrees(&self, covers: bool) {
        *held(&self.rules.covers) = covers;
    }

    /// Lets the policy say `@record("clear")`.
    pub fn judge_records_in_clear(&self, clear: bool) {
        *held(&self.rules.clear) = clear;
    }

    /// Replaces what programs may touch; before that it is the roots.
    pub fn reaches(&self, reach: Reach) {
        *held(&self.rules.reach) = reach;
    }

    /// Replaces what the policy adds to the reach of every program.
    pub fn adds_to_reach(&self, profile: Profile) {
        self.adds_to_reach_of(move |_| profile.clone());
    }

    /// Replaces what the policy adds to the reach of a program, by the effect of running it.
    pub fn adds_to_reach_of(&self, profile: impl Fn(&Effect) -> Profile + Send + Sync + 'static) {
        *held(&self.rules.profile) = Box::new(profile);
    }

    /// Lets the log fail from now on (`audit_unavailable`), or work again.
    pub fn break_the_log(&self, broken: bool) {
        held(&self.ledger.0).broken = broken;
    }

    /// Keeps evidence from now on, in memory.
    pub fn keep_evidence(&mut self) {
        self.evidence = Some(Arc::default());
    }

    /// Lets evidence fail to be kept from now on, or work again.
    ///
    /// # Panics
    ///
    /// Where none is kept.
    pub fn break_evidence(&self, broken: bool) {
        held(&self.evidence.as_ref().expect("evidence that is kept").0).broken = broken;
    }

    /// What is kept by this SHA-256.
    ///
    /// # Panics
    ///
    /// Where it is not.
    #[track_caller]
    pub fn evidence(&self, sha256: &str) -> Vec<u8> {
        let kept = held(&self.evidence.as_ref().expect("evidence that is kept").0);
        kept.bytes.get(sha256).unwrap_or_else(|| panic!("{sha256} is not kept")).clone()
    }

    /// Sends one action that must be held, and gives what an approver is shown of it beside its params.
    ///
    /// # Panics
    ///
    /// With the whole answer where it is not held.
    #[track_caller]
    pub fn previews(&self, action: &str, params: Value) -> Value {
        let answer = self.refused(action, params, "confirmation_required");
        let pending = answer["error"]["details"]["pending_id"].as_str().expect("a held plan");
        json!(held(&self.approvals.0)[pending].actions[0].previews)
    }

    /// Sends one action and gives the whole answer.
    pub fn send(&self, action: &str, params: Value) -> Value {
        self.send_plan(json!([{"action": action, "params": params, "reason": "a test"}]), None)
    }

    /// Sends a plan of several actions, with a token where one is given.
    pub fn send_plan(&self, actions: Value, token: Option<&str>) -> Value {
        let mut plan = json!({"request_id": "t-1", "version": "1", "mode": "execute", "actions": actions});
        if let Some(token) = token {
            plan["confirmation"] = json!({"token": token});
        }
        self.send_frame(plan.to_string().as_bytes())
    }

    /// Sends the bytes of a frame.
    pub fn send_frame(&self, frame: &[u8]) -> Value {
        self.runtime.block_on(self.walk(frame, CancellationToken::new()))
    }

    /// Sends one action, and cancels it once `when` resolves.
    pub fn send_and_cancel(
        &self,
        action: &str,
        params: Value,
        when: impl Future<Output = ()> + Send + 'static,
    ) -> Value {
        let actions = json!([{"action": action, "params": params, "reason": "a test"}]);
        let plan = json!({"request_id": "t-1", "version": "1", "mode": "execute", "actions": actions});
        let cancel = CancellationToken::new();
        let trigger = cancel.clone();
        self.runtime.block_on(async move {
            tokio::spawn(async move {
                when.await;
                trigger.cancel();
            });
            self.walk(plan.to_string().as_bytes(), cancel).await
        })
    }

    /// Sends one action that is cancelled while its intent is being recorded.
    pub fn send_cancelled_while_recorded(&self, action: &str, params: Value) -> Value {
        let actions = json!([{"action": action, "params": params, "reason": "a test"}]);
        let plan = json!({"request_id": "t-1", "version": "1", "mode": "execute", "actions": actions});
        let cancel = CancellationToken::new();
        held(&self.ledger.0).cancels = Some(cancel.clone());
        self.runtime.block_on(self.walk(plan.to_string().as_bytes(), cancel))
    }

    /// Ends the connection that all plans came by, as a client that goes away does.
    pub fn disconnect(&self) {
        self.registry.disconnected(ConnectionId::default());
    }

    /// Tells the capability that the host was halted.
    pub fn halt(&self) {
        self.registry.halted();
    }

    /// Why an action is lacking on this machine, if so.
    ///
    /// # Panics
    ///
    /// Where there is no such action.
    pub fn lacks(&self, action: &str) -> Option<String> {
        self.registry.lacks(&ActionName::new(action).expect("an action name"))
    }

    /// Sends one action, confirms it as a human would where it is held, and gives the answer.
    ///
    /// # Panics
    ///
    /// Where the plan is refused other than by being held.
    pub fn send_confirmed(&self, action: &str, params: Value) -> Value {
        let actions = json!([{"action": action, "params": params, "reason": "a test"}]);
        let answer = self.send_plan(actions.clone(), None);
        match answer["error"]["details"]["pending_id"].as_str() {
            Some(pending) => self.send_plan(actions, Some(pending)),
            None => answer,
        }
    }

    /// Sends one action and expects it to be `ok` with this output, which must match the declared schema.
    ///
    /// # Panics
    ///
    /// With the whole answer where it is another.
    #[track_caller]
    pub fn check(&self, action: &str, params: Value, output: Value) {
        let answer = self.send(action, params);
        assert_eq!(answer["results"][0]["output"], output, "{answer:#}");
        assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
        self.matches_schema(action, &answer["results"][0]["output"]);
    }

    /// Sends one action and expects a refusal or failure with this code; gives the answer.
    ///
    /// # Panics
    ///
    /// With the whole answer where it is another.
    #[track_caller]
    pub fn refused(&self, action: &str, params: Value, code: &str) -> Value {
        let answer = self.send(action, params);
        let found = [&answer["error"]["code"], &answer["results"][0]["error"]["code"]];
        assert!(found.contains(&&json!(code)), "expected {code}: {answer:#}");
        answer
    }

    /// What was recorded so far, as the lines' JSON.
    ///
    /// # Panics
    ///
    /// Never: what is kept was serialised before.
    pub fn records(&self) -> Vec<Value> {
        held(&self.ledger.0).lines.iter().map(|line| serde_json::from_str(line).expect("a record")).collect()
    }

    /// What every capability keeps: examples parse, unknown fields are refused, names and schemas are well formed.
    ///
    /// # Panics
    ///
    /// With what is broken.
    pub fn keeps_the_contract(&self) {
        for action in self.registry.actions() {
            let name = action.name.as_str();
            assert!(!action.doc.is_empty(), "{name} needs a doc comment: models read it");
            let schema = jsonschema::validator_for(&action.params).unwrap_or_else(|e| panic!("{name}: {e}"));
            for example in action.spec.examples {
                let params: Value =
                    serde_json::from_str(example.params).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(schema.is_valid(&params), "{name}: its example does not match its schema: {params}");
                let answer = self.plan_only(name, &params);
                let code = answer["error"]["code"].as_str().unwrap_or_default();
                let refused = ["parse_failed", "validation_failed", "unknown_action", "capability_fault"];
                assert!(!refused.contains(&code), "{name}: its example is refused: {answer:#}");
                assert!(!action.params.to_string().contains("\"null\""), "{name}: the wire has no null");
                let mut more = params.clone();
                more["no_such_field"] = json!(true);
                assert!(!schema.is_valid(&more), "{name}: its schema accepts unknown fields");
                assert_eq!(
                    self.plan_only(name, &more)["error"]["code"],
                    "parse_failed",
                    "{name}: unknown field"
                );
            }
        }
    }

    /// Asserts that an output matches the schema that its action declares.
    ///
    /// # Panics
    ///
    /// Where it does not.
    #[track_caller]
    pub fn matches_schema(&self, action: &str, output: &Value) {
        let known =
            ActionName::new(action).and_then(|name| self.registry.action(&name)).expect("a known action");
        let schema = jsonschema::validator_for(&known.output).unwrap_or_else(|e| panic!("{action}: {e}"));
        let errors: Vec<_> = schema.iter_errors(output).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{action}: {errors:?}");
    }

    fn plan_only(&self, action: &str, params: &Value) -> Value {
        let actions = json!([{"action": action, "params": params, "reason": "a test"}]);
        let plan = json!({"request_id": "t-1", "version": "1", "mode": "plan_only", "actions": actions});
        self.send_frame(plan.to_string().as_bytes())
    }

    async fn walk(&self, frame: &[u8], cancel: CancellationToken) -> Value {
        let who = Who { uid: 1000, gid: 1000, pid: 1, exe: None };
        let response = match Request::read(frame) {
            Err(unread) => llm_os_core::response::Response::refused(unread.id, unread.session, unread.fault),
            Ok(request) => {
                let door = Door {
                    registry: &self.registry,
                    judge: self.rules.clone(),
                    ledger: &self.ledger,
                    approvals: &self.approvals,
                    evidence: self.evidence.clone().map(|kept| kept as Arc<dyn Keeper>),
                    limits: self.limits,
                };
                // No two worlds of a process give out the same id, as no two starts of a host do.
                static RUNS: AtomicU64 = AtomicU64::new(1);
                let run = format!("run-{}", RUNS.fetch_add(1, Ordering::Relaxed));
                pipeline::walk(Parsed::new(request, who, run), &door, cancel).await
            }
        };
        serde_json::from_slice(&response.to_line()).expect("an answer")
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Rules {
    rule: Mutex<Arc<Rule>>,
    covers: Mutex<bool>,
    clear: Mutex<bool>,
    reach: Mutex<Reach>,
    profile: Mutex<Box<ProfileOf>>,
}

impl Judge for Rules {
    fn judge(&self, query: Query<'_>) -> Ruling {
        let rule = held(&self.rule).clone();
        let policies = vec![Reason { policy: "test".to_owned(), reason: None, clear: *held(&self.clear) }];
        let profile = match query.effect.verb {
            Verb::Run => held(&self.profile)(query.effect),
            _ => Profile::default(),
        };
        Ruling { decision: rule(query), policies, profile }
    }

    fn reach(&self, _: &Principal, _: bool) -> Reach {
        held(&self.reach).clone()
    }

    fn covers_subtree(&self, _: Query<'_>) -> bool {
        *held(&self.covers)
    }

    fn policy_sha256(&self) -> &'static str {
        "0000000000000000000000000000000000000000000000000000000000000000"
    }
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    broken: bool,
    /// Cancelled by the next write.
    cancels: Option<CancellationToken>,
}

/// A log in memory.
#[derive(Default)]
struct Memory(Mutex<Lines>);

impl Memory {
    fn append(&self, entries: &[Entry]) -> Result<Durable, Fault> {
        let mut log = held(&self.0);
        if log.broken {
            return Err(Fault::new(Code::AUDIT_UNAVAILABLE, "the log is broken by the test"));
        }
        if let Some(cancel) = log.cancels.take() {
            cancel.cancel();
        }
        let first = log.lines.len() as u64 + 1;
        log.lines.extend(entries.iter().map(|entry| serde_json::to_string(entry).expect("a record")));
        Ok(Durable { first, last: log.lines.len() as u64, receipt: String::new() })
    }
}

impl Ledger for Memory {
    async fn write(&self, entries: Vec<Entry>) -> Result<Durable, Fault> {
        self.append(&entries)
    }

    fn note(&self, entries: Vec<Entry>) -> Result<(), Fault> {
        self.append(&entries).map(|_| ())
    }

    fn digest(&self, secret: &[u8]) -> String {
        format!("digest-of-{}-bytes", secret.len())
    }

    fn claim(&self, _: &Principal, _: &Id, _: &str) -> Result<(), Fault> {
        Ok(())
    }

    fn settle(&self, _: &Principal, _: &Id, _: &str) {}
}

#[derive(Default)]
struct Store {
    bytes: BTreeMap<String, Vec<u8>>,
    seen: BTreeMap<String, Picture>,
    broken: bool,
}

/// Evidence in memory.
#[derive(Default)]
struct Kept(Mutex<Store>);

impl Keeper for Kept {
    fn keep(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<Evidence, String> {
        let mut store = held(&self.0);
        if store.broken {
            return Err("the store is broken by the test".to_owned());
        }
        let Binary { media_type, bytes: length, sha256, .. } = Binary::new(media_type, bytes);
        store.bytes.insert(sha256.clone(), bytes.to_vec());
        Ok(Evidence { name: name.to_owned(), media_type, bytes: length, sha256, point: None })
    }

    fn saw(&self, caller: &Principal, display: &str, picture: Option<Picture>) {
        let key = format!("{caller:?} {display}");
        let mut store = held(&self.0);
        match picture {
            Some(picture) => store.seen.insert(key, picture),
            None => store.seen.remove(&key),
        };
    }

    fn seen(&self, caller: &Principal, display: &str) -> Option<Picture> {
        held(&self.0).seen.get(&format!("{caller:?} {display}")).cloned()
    }
}

/// Held plans; the token is the pending id, and the human says yes.
#[derive(Default)]
struct Desk(Mutex<BTreeMap<String, HeldPlan>>);

impl Approvals for Desk {
    fn hold(&self, plan: HeldPlan) -> Result<Pending, Fault> {
        let mut plans = held(&self.0);
        let id = format!("p-{}", plans.len() + 1);
        plans.insert(id.clone(), plan);
        Ok(Pending { id, wait_secret: String::new() })
    }

    fn release(&self, pending_id: &str) {
        held(&self.0).remove(pending_id);
    }

    fn redeem(&self, token: &Secret, claim: Claim<'_>) -> Result<Approved, Fault> {
        let plan = held(&self.0).remove(token.expose());
        let plan = plan.ok_or_else(|| Fault::new(Code::CONFIRMATION_INVALID, "no such token"))?;
        if plan.canonical != claim.canonical {
            return Err(Fault::new(Code::CONFIRMATION_INVALID, "another plan"));
        }
        if !plan.actions.iter().map(|action| &action.effects).eq(claim.effects) {
            return Err(Fault::new(Code::CONFIRMATION_STALE, "the plan resolves to something else"));
        }
        Ok(Approved {
            pending_id: token.expose().to_owned(),
            approver: 0,
            time: "1970-01-01T00:00:00Z".to_owned(),
            grant: None,
            signer: None,
        })
    }

    fn granted(&self, _: &Secret, _: &Principal, _: &[Asked<'_>]) -> Option<Vec<Approved>> {
        None
    }
}
