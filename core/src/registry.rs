//! The capabilities of a host: collected at link time, sorted, checked, opened.
//!
//! Capabilities are typed for their authors and erased here in private, since a host holds many of them; `Bridge`
//! is the one place where both meet.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::capability::{ActionSpec, Capability, ConnectionId, Context, Setup};
use crate::check::Check;
use crate::effect::{Effectful, Effects, Resource};
use crate::error::{Code, Fault};
use crate::evidence::{Aim, Preview};
use crate::json::Json;
use crate::link::{self, Link};
use crate::name::{self, ActionName};
use crate::pipeline::grant::AnyGrant;
use crate::policy::Principal;
use crate::reach::{Profile, Reach};
use crate::redact::Mask;

/// A capability as `inventory` collects it.
pub struct Registration {
    name: &'static str,
    specs: &'static [ActionSpec],
    schemas: fn() -> Schemas,
    open: fn(&Json, &Setup) -> Result<Opened, OpenError>,
    checks: fn(&Json, &Setup) -> Result<Vec<Check>, OpenError>,
    always_asks: fn(&Resource) -> Option<String>,
}

inventory::collect!(Registration);

impl Registration {
    /// The descriptor of a capability, for `inventory::submit!`.
    pub const fn of<C: Capability>() -> Self {
        Self {
            name: C::NAME,
            specs: C::ACTIONS,
            schemas: schemas::<C>,
            open: open::<C>,
            checks: checks::<C>,
            always_asks: C::always_asks,
        }
    }
}

type Opened = Box<dyn Erased>;

enum OpenError {
    Config(crate::json::Invalid),
    Fault(Fault),
}

fn open<C: Capability>(config: &Json, setup: &Setup) -> Result<Opened, OpenError> {
    let config = config.read::<C::Config>().map_err(OpenError::Config)?;
    let opened =
        catch_unwind(AssertUnwindSafe(|| C::open(config, setup))).unwrap_or_else(|_| Err(panicked(C::NAME)));
    Ok(Box::new(Bridge(opened.map_err(OpenError::Fault)?)))
}

fn checks<C: Capability>(config: &Json, setup: &Setup) -> Result<Vec<Check>, OpenError> {
    let config = config.read::<C::Config>().map_err(OpenError::Config)?;
    let checked = catch_unwind(AssertUnwindSafe(|| C::checks(&config, setup)));
    checked.map_err(|_| OpenError::Fault(panicked(C::NAME)))
}

struct Schemas {
    config: Value,
    action: Value,
    output: Value,
}

fn schemas<C: Capability>() -> Schemas {
    fn of<T: JsonSchema>() -> Value {
        let settings = SchemaSettings::draft2020_12().with(|s| {
            s.inline_subschemas = true;
            s.meta_schema = None;
        });
        let settings = settings.with_transform(RecursiveTransform(without_null));
        let settings = settings.with_transform(RecursiveTransform(within_its_type));
        settings.into_generator().into_root_schema_for::<T>().to_value()
    }
    Schemas { config: of::<C::Config>(), action: of::<C::Action>(), output: of::<C::Output>() }
}

/// An absent field is left out on the wire, never null: an `Option` has the schema of what is in it.
fn without_null(schema: &mut Schema) {
    let is_null =
        |schema: &Value| schema["type"] == "null" && schema.as_object().is_some_and(|s| s.len() == 1);
    let Some(schema) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|ty| ty != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") {
        alternatives.retain(|alternative| !is_null(alternative));
        if let [Value::Object(only)] = alternatives.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                schema.entry(key).or_insert(value);
            }
        }
    }
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
}

/// An integer is of a type that has bounds, which `format` only names.
fn within_its_type(schema: &mut Schema) {
    let bounds: (Value, Value) = match schema.get("format").and_then(Value::as_str) {
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("int64" | "int") => (i64::MIN.into(), i64::MAX.into()),
        Some("uint8") => (u8::MIN.into(), u8::MAX.into()),
        Some("uint16") => (u16::MIN.into(), u16::MAX.into()),
        Some("uint32") => (u32::MIN.into(), u32::MAX.into()),
        Some("uint64" | "uint") => (u64::MIN.into(), u64::MAX.into()),
        _ => return,
    };
    if schema.get("type").is_some_and(|ty| ty == "integer") {
        let schema = schema.ensure_object();
        schema.entry("minimum").or_insert(bounds.0);
        schema.entry("maximum").or_insert(bounds.1);
    }
}

/// A capability without its types.
pub(crate) trait Erased: Send + Sync {
    fn lacks(&self, verb: &str) -> Option<String>;
    fn choices(&self, of: &str) -> Option<Vec<String>>;
    fn cannot_hold(&self, reach: &Reach, profile: &Profile) -> Option<String>;
    fn disconnected(&self, connection: ConnectionId);
    fn halted(&self);
    fn check(&self, verb: &str, params: &Json) -> Result<Checked, Fault>;
    fn resolve(&self, checked: Checked, caller: &Principal) -> Result<AnyResolved, Fault>;
    fn preview(&self, resolved: &(dyn Any + Send), caller: &Principal) -> Vec<Preview>;
    fn aims(&self, resolved: &(dyn Any + Send)) -> Vec<Aim>;
    fn execute<'a>(
        &'a self,
        verb: &'a str,
        granted: AnyGrant,
        cx: &'a Context,
    ) -> Pin<Box<dyn Future<Output = Result<Box<RawValue>, Fault>> + Send + 'a>>;
}

/// Params that were typed and validated.
pub(crate) struct Checked(Box<dyn Any + Send>);

/// A resolved action and what it states.
pub(crate) struct AnyResolved {
    pub(crate) effects: Effects,
    pub(crate) value: Box<dyn Any + Send>,
}

/// The one bridge between a typed capability and the erased one; the type parameters match by construction.
struct Bridge<C>(C);

impl<C: Capability> Erased for Bridge<C> {
    fn lacks(&self, verb: &str) -> Option<String> {
        catch_unwind(AssertUnwindSafe(|| self.0.lacks(verb)))
            .unwrap_or_else(|_| Some("it panicked".to_owned()))
    }

    fn choices(&self, of: &str) -> Option<Vec<String>> {
        catch_unwind(AssertUnwindSafe(|| self.0.choices(of))).unwrap_or_default()
    }

    fn cannot_hold(&self, reach: &Reach, profile: &Profile) -> Option<String> {
        catch_unwind(AssertUnwindSafe(|| self.0.cannot_hold(reach, profile)))
            .unwrap_or_else(|_| Some("it panicked".to_owned()))
    }

    fn disconnected(&self, connection: ConnectionId) {
        // A panic here is the capability's loss alone; the panic hook has told it.
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.disconnected(connection)));
    }

    fn halted(&self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.halted()));
    }

    fn check(&self, verb: &str, params: &Json) -> Result<Checked, Fault> {
        let action: C::Action = params.read_variant(verb).map_err(|e| {
            let path = e.path();
            Fault::new(Code::PARSE_FAILED, e.message().to_owned())
                .at(path.trim_start_matches('$').trim_start_matches('.'))
        })?;
        guarded(C::NAME, || self.0.validate(&action))?;
        Ok(Checked(Box::new(action)))
    }

    fn resolve(&self, checked: Checked, caller: &Principal) -> Result<AnyResolved, Fault> {
        let action = *checked.0.downcast::<C::Action>().expect("checked by this capability");
        guarded(C::NAME, || {
            let value = self.0.resolve_for(action, caller)?;
            Ok(AnyResolved { effects: value.effects(), value: Box::new(value) })
        })
    }

    fn preview(&self, resolved: &(dyn Any + Send), caller: &Principal) -> Vec<Preview> {
        let resolved = resolved.downcast_ref().expect("resolved by the same capability");
        let previewed = catch_unwind(AssertUnwindSafe(|| self.0.preview(resolved, caller)));
        let why = || format!("the capability {} panicked when it looked", C::NAME);
        previewed.unwrap_or_else(|_| vec![Preview::NoDiff(why())])
    }

    fn aims(&self, resolved: &(dyn Any + Send)) -> Vec<Aim> {
        let resolved = resolved.downcast_ref().expect("resolved by the same capability");
        catch_unwind(AssertUnwindSafe(|| self.0.aims(resolved))).unwrap_or_default()
    }

    fn execute<'a>(
        &'a self,
        verb: &'a str,
        granted: AnyGrant,
        cx: &'a Context,
    ) -> Pin<Box<dyn Future<Output = Result<Box<RawValue>, Fault>> + Send + 'a>> {
        let granted = granted.typed::<C::Resolved>();
        Box::pin(async move {
            let output = {
                let mut running = std::pin::pin!(self.0.execute(granted, cx));
                std::future::poll_fn(|task| {
                    catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(task)))
                        .unwrap_or_else(|_| std::task::Poll::Ready(Err(panicked(C::NAME))))
                })
                .await?
            };
            untagged(verb, &output).ok_or_else(|| {
                Fault::new(
                    Code::CAPABILITY_FAULT,
                    format!("{} answered with another shape than {verb}'s", C::NAME),
                )
            })
        })
    }
}

fn guarded<T>(name: &str, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked(name)))
}

fn panicked(name: &str) -> Fault {
    Fault::new(
        Code::CAPABILITY_FAULT,
        format!("the capability {name} panicked; what this action did is not known"),
    )
}

/// The value inside `{"<verb>":value}`.
fn untagged<T: serde::Serialize>(verb: &str, output: &T) -> Option<Box<RawValue>> {
    let whole = serde_json::to_string(output).ok()?;
    let inner = whole.strip_prefix("{\"")?.strip_prefix(verb)?.strip_prefix("\":")?.strip_suffix('}')?;
    RawValue::from_string(inner.to_owned()).ok()
}

/// One action that a host knows.
#[derive(Debug)]
pub struct Action {
    /// `<capability>.<verb>`.
    pub name: ActionName,
    /// What its author declared.
    pub spec: &'static ActionSpec,
    /// The doc comment of its variant.
    pub doc: String,
    /// JSON Schema (2020-12) of its params, without references.
    pub params: Value,
    /// JSON Schema (2020-12) of its output, without references.
    pub output: Value,
    /// The schema of the params with its [links](crate::link) still in it.
    pub linked: Value,
    pub(crate) mask: Mask,
}

impl Action {
    /// The link in a part of [`Action::linked`], if there is one.
    pub fn link(&self, field: &Map<String, Value>) -> Option<Link> {
        Link::of(field, self.spec).expect("links were checked when the action was registered")
    }
}

enum State {
    Closed,
    Open(Opened),
    Unavailable(String),
}

/// The capabilities that are linked into this program, checked and sorted by name.
pub struct Registry {
    actions: BTreeMap<String, Action>,
    linked: BTreeMap<&'static str, (&'static Registration, State)>,
}

/// Why a registry, or the configuration of one of its capabilities, is refused.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Two crates register the same name.
    #[error("two capabilities are named \"{0}\": rename one, or link only one of them")]
    Duplicate(&'static str),
    /// A name, an action list or a schema is not what the contract says.
    #[error("the capability \"{name}\" breaks its contract: {why}")]
    Contract {
        /// The capability.
        name: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A table `[capabilities.NAME]` has no capability.
    #[error("there is no capability \"{name}\" to configure; linked are: {linked}")]
    NoSuchCapability {
        /// The name in the configuration.
        name: String,
        /// The names that exist.
        linked: String,
    },
    /// A table `[capabilities.NAME]` does not fit.
    #[error("capabilities.{name}{path}: {message}")]
    Config {
        /// The capability.
        name: &'static str,
        /// The path in its table, empty or starting with a dot or bracket.
        path: String,
        /// What was found and expected.
        message: String,
    },
    /// A protection that is required cannot be had on this machine ([`Fault::keeps_host_from_starting`]).
    #[error("the host does not start, since {name} cannot be held to what is required: {why}")]
    Required {
        /// The capability.
        name: &'static str,
        /// What is missing.
        why: String,
    },
}

impl Registry {
    /// Everything that this program links.
    ///
    /// # Errors
    ///
    /// A duplicate or ill-formed name, or an action list that does not match its types: the host must not start.
    pub fn linked() -> Result<Self, RegistryError> {
        Self::of(inventory::iter::<Registration>)
    }

    /// Just these capabilities.
    ///
    /// # Errors
    ///
    /// As [`Registry::linked`].
    pub fn of(registrations: impl IntoIterator<Item = &'static Registration>) -> Result<Self, RegistryError> {
        let mut registry = Self { actions: BTreeMap::new(), linked: BTreeMap::new() };
        for registration in registrations {
            let name = registration.name;
            if registry.linked.insert(name, (registration, State::Closed)).is_some() {
                return Err(RegistryError::Duplicate(name));
            }
            for action in actions(registration).map_err(|why| RegistryError::Contract { name, why })? {
                registry.actions.insert(action.name.as_str().to_owned(), action);
            }
        }
        Ok(registry)
    }

    /// Opens every capability with its table of the configuration (an absent one is an empty table).
    ///
    /// # Errors
    ///
    /// A table that does not fit, or that belongs to no capability; a protection that is required and missing. A capability that cannot open is not an error: it
    /// is unavailable, see [`Registry::unavailable`].
    pub fn open(&mut self, configs: &BTreeMap<String, Json>, setup: &Setup) -> Result<(), RegistryError> {
        if let Some(name) = configs.keys().find(|name| !self.linked.contains_key(name.as_str())) {
            let linked = self.linked.keys().copied().collect::<Vec<_>>().join(", ");
            return Err(RegistryError::NoSuchCapability { name: name.clone(), linked });
        }
        let empty = Json::Object(BTreeMap::new());
        for (name, (registration, state)) in &mut self.linked {
            *state = match (registration.open)(configs.get(*name).unwrap_or(&empty), setup) {
                Ok(opened) => State::Open(opened),
                Err(OpenError::Fault(fault)) if fault.fatal => {
                    return Err(RegistryError::Required { name, why: fault.message.into_owned() });
                }
                Err(OpenError::Fault(fault)) => State::Unavailable(fault.message.into_owned()),
                Err(OpenError::Config(e)) => {
                    let path = e.path().trim_start_matches('$').to_owned();
                    return Err(RegistryError::Config { name, path, message: e.message().to_owned() });
                }
            };
        }
        Ok(())
    }

    /// What every capability says of this machine, each with its name. What would keep it from being opened is a check as
    /// well.
    pub fn checks(&self, configs: &BTreeMap<String, Json>, setup: &Setup) -> Vec<(String, Check)> {
        let mut all = Vec::new();
        for name in configs.keys().filter(|name| !self.linked.contains_key(name.as_str())) {
            let linked = self.linked.keys().copied().collect::<Vec<_>>().join(", ");
            let why = RegistryError::NoSuchCapability { name: name.clone(), linked }.to_string();
            all.push((name.clone(), Check::lacking("linked", why).required()));
        }
        let empty = Json::Object(BTreeMap::new());
        for (name, (registration, _)) in &self.linked {
            let checks = match (registration.checks)(configs.get(*name).unwrap_or(&empty), setup) {
                Ok(checks) => checks,
                Err(OpenError::Fault(fault)) => vec![Check::lacking("checks", fault.message).required()],
                Err(OpenError::Config(e)) => {
                    let path = e.path().trim_start_matches('$').to_owned();
                    let why = format!("capabilities.{name}{path}: {}", e.message());
                    vec![Check::lacking("configuration", why).required()]
                }
            };
            all.extend(checks.into_iter().map(|check| ((*name).to_owned(), check)));
        }
        all
    }

    /// Every action, sorted by name.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.values()
    }

    /// One action.
    pub fn action(&self, name: &ActionName) -> Option<&Action> {
        self.actions.get(name.as_str())
    }

    /// The names of the linked capabilities, sorted, each with the JSON Schema of its configuration.
    pub fn configs(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.linked.iter().map(|(name, (registration, _))| (*name, (registration.schemas)().config))
    }

    /// Why a capability cannot be used, if so.
    pub fn unavailable(&self, capability: &str) -> Option<&str> {
        match &self.linked.get(capability)?.1 {
            State::Unavailable(why) => Some(why),
            State::Closed => Some("it was not opened"),
            State::Open(_) => None,
        }
    }

    /// Why an action cannot be used, whether the capability as a whole or this action alone is lacking.
    pub fn lacks(&self, action: &ActionName) -> Option<String> {
        match &self.linked.get(action.capability())?.1 {
            State::Open(opened) => opened.lacks(action.verb()),
            State::Unavailable(_) | State::Closed => self.unavailable(action.capability()).map(str::to_owned),
        }
    }

    /// The names that a field of an action can take now ([`Capability::choices`]), where they are known.
    pub fn choices(&self, action: &ActionName, of: &str) -> Option<Vec<String>> {
        match &self.linked.get(action.capability())?.1 {
            State::Open(opened) => opened.choices(of),
            State::Unavailable(_) | State::Closed => None,
        }
    }

    /// Why a capability asks about everything that is done to this resource ([`Capability::always_asks`]), if so.
    pub fn always_asks(&self, resource: &Resource) -> Option<String> {
        let why = |(registration, _): &(&'static Registration, State)| {
            catch_unwind(AssertUnwindSafe(|| (registration.always_asks)(resource)))
                .unwrap_or_else(|_| Some(format!("the capability {} panicked", registration.name)))
        };
        self.linked.values().find_map(why)
    }

    /// Why an open capability cannot hold its programs to a reach and a profile ([`Capability::cannot_hold`]), if so.
    pub fn cannot_hold(&self, reach: &Reach, profile: &Profile) -> Option<String> {
        self.linked.iter().find_map(|(name, (_, state))| {
            let State::Open(opened) = state else { return None };
            Some(format!("{name}: {}", opened.cannot_hold(reach, profile)?))
        })
    }

    /// Tells every open capability that a connection ended and no plan of it runs any more.
    pub fn disconnected(&self, connection: ConnectionId) {
        for (_, state) in self.linked.values() {
            if let State::Open(opened) = state {
                opened.disconnected(connection);
            }
        }
    }

    /// Tells every open capability that the host was halted.
    pub fn halted(&self) {
        for (_, state) in self.linked.values() {
            if let State::Open(opened) = state {
                opened.halted();
            }
        }
    }

    /// The known action that was probably meant by `text`, for an error's next step.
    pub fn nearest(&self, text: &str) -> Option<&str> {
        const ALIKE: f64 = 0.8;
        let text = text.replacen('_', ".", 1).to_ascii_lowercase();
        let alike = self.actions.keys().map(|name| (strsim::jaro_winkler(name, &text), name.as_str()));
        let best = alike.max_by(|(a, _), (b, _)| a.total_cmp(b));
        let same_verb = || {
            let verb = text.rsplit('.').next()?;
            self.actions.values().find(|action| action.name.verb() == verb).map(|action| action.name.as_str())
        };
        best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, name)| name).or_else(same_verb)
    }

    pub(crate) fn capability(&self, name: &ActionName) -> Result<&dyn Erased, Fault> {
        match self.linked.get(name.capability()).map(|(_, state)| state) {
            Some(State::Open(opened)) => Ok(&**opened),
            _ => {
                let why = self.unavailable(name.capability()).unwrap_or("it is not linked");
                Err(Fault::new(
                    Code::UNAVAILABLE,
                    format!("{} cannot be used here: {why}", name.capability()),
                ))
            }
        }
    }
}

/// Reads the actions off the schemas and holds them against what was declared.
fn actions(registration: &Registration) -> Result<Vec<Action>, String> {
    if !name::is_capability(registration.name) || registration.name == "host" {
        return Err("its name must be [a-z][a-z0-9]* and not \"host\"".to_owned());
    }
    let schemas = (registration.schemas)();
    let mut params = variants(&schemas.action)?;
    let mut outputs = variants(&schemas.output)?;
    let mut actions = Vec::new();
    for spec in registration.specs {
        let text = format!("{}.{}", registration.name, spec.verb);
        let name = ActionName::new(&text).ok_or_else(|| format!("\"{text}\" is not an action name"))?;
        let (doc, linked) =
            params.remove(spec.verb).ok_or_else(|| format!("Action has no variant \"{}\"", spec.verb))?;
        let (_, output) =
            outputs.remove(spec.verb).ok_or_else(|| format!("Output has no variant \"{}\"", spec.verb))?;
        check_spec(spec)?;
        link::check(&linked, spec).map_err(|why| format!("{}: {why}", spec.verb))?;
        let (params, mask) = (link::without(&linked), Mask::of(&linked));
        actions.push(Action { name, spec, doc, params, output, linked, mask });
    }
    match params.into_keys().chain(outputs.into_keys()).next() {
        Some(verb) => Err(format!("the variant \"{verb}\" is not in ACTIONS")),
        None => Ok(actions),
    }
}

fn check_spec(spec: &ActionSpec) -> Result<(), String> {
    let verb = spec.verb;
    if spec.effects.is_empty() || spec.examples.is_empty() {
        return Err(format!("{verb} needs at least one effect and one example"));
    }
    for effect in spec.effects {
        if let Some(fact) =
            effect.facts.iter().find(|fact| !name::is_verb(fact.name) || fact.name == "confirmed")
        {
            return Err(format!("{verb}: \"{}\" cannot name a fact", fact.name));
        }
        let same_verb = spec.effects.iter().filter(|other| other.verb == effect.verb);
        if same_verb.into_iter().any(|other| other.facts != effect.facts) {
            return Err(format!("{verb}: {} has different facts on different kinds", effect.verb));
        }
    }
    Ok(())
}

/// The variants of an externally tagged enum of struct variants: name, doc, schema of what is inside.
fn variants(schema: &Value) -> Result<BTreeMap<String, (String, Value)>, String> {
    let only = std::slice::from_ref(schema);
    let alternatives = schema["oneOf"].as_array().map_or(only, Vec::as_slice);
    let variant = |alternative: &Value| {
        let (name, inner) = alternative["properties"].as_object()?.iter().next()?;
        let doc = alternative["description"].as_str().or(inner["description"].as_str()).unwrap_or_default();
        Some((name.clone(), (doc.to_owned(), inner.clone())))
    };
    let found: Option<BTreeMap<_, _>> = alternatives.iter().map(variant).collect();
    found.ok_or_else(|| {
        "Action and Output must be externally tagged enums of struct or newtype variants".to_owned()
    })
}
