//! Whether the policies could let something happen of which not all is known yet: a static look at them, "yes" where
//! unsure.
//!
//! A condition is yes, no, or not known (`None`), and what is not understood here is not known. That a condition fails
//! where it is evaluated need not be seen: the decision is then a deny, whatever the others say.

use cedar_policy::{PrincipalConstraint, ResourceConstraint};
use llm_os_core::effect::Kind;
use serde_json::Value;

use super::entities::Entity;
use super::rules::Rule;
use super::subtree::{is_at_or_below, is_below};
use super::vocabulary::Concrete;
use super::{Policy, Roots};

/// What is known of an effect. What is not stated may be anything.
pub(super) struct Case<'a> {
    pub(super) concrete: &'a Concrete,
    pub(super) uid: u32,
    pub(super) kind: Kind,
    pub(super) place: Place<'a>,
    /// A fact that is a text.
    pub(super) fact: Option<(&'a str, &'a str)>,
}

/// What is known of a resource beside its kind.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Anywhere,
    /// This very one.
    At(&'a Entity),
    /// At or below this root.
    Below(&'a str),
    /// None of those that a policy names by itself.
    Unnamed,
}

impl Policy {
    /// Whether a plan with such an effect could be allowed, or confirmed by a human.
    pub(super) fn is_possible(&self, case: &Case<'_>) -> bool {
        let rules = self.by_action[case.concrete.index].rules.iter().map(|index| &self.rules[*index]);
        [false, true].into_iter().any(|confirmed| {
            let question = Question { case, confirmed, roots: &self.roots };
            let could_permit = |rule: &Rule| rule.permits && question.applies(rule) != Some(false);
            let surely_forbids = |rule: &Rule| !rule.permits && question.applies(rule) == Some(true);
            rules.clone().any(could_permit) && !rules.clone().any(surely_forbids)
        })
    }
}

struct Question<'a> {
    case: &'a Case<'a>,
    confirmed: bool,
    roots: &'a Roots,
}

impl Question<'_> {
    /// Whether a rule applies, whose action is known to be in its scope.
    fn applies(&self, rule: &Rule) -> Option<bool> {
        let condition = |condition: &Value| {
            let holds = self.holds(&condition["body"])?;
            Some(holds == (condition["kind"] == "when"))
        };
        let scopes = [self.is_principal(rule), self.is_resource(rule)];
        all(scopes.into_iter().chain(rule.conditions.iter().map(condition)))
    }

    fn is_principal(&self, rule: &Rule) -> Option<bool> {
        match rule.policy.principal_constraint() {
            PrincipalConstraint::Any => Some(true),
            PrincipalConstraint::In(group) => {
                self.is_user(&group.type_name().to_string(), group.id().unescaped())
            }
            PrincipalConstraint::Eq(_) | PrincipalConstraint::Is(_) | PrincipalConstraint::IsIn(..) => None,
        }
    }

    fn is_user(&self, ty: &str, id: &str) -> Option<bool> {
        (ty == "User").then(|| self.case.uid.to_string() == id)
    }

    fn is_resource(&self, rule: &Rule) -> Option<bool> {
        let of =
            |uid: &cedar_policy::EntityUid| (uid.type_name().to_string(), uid.id().unescaped().to_owned());
        match &rule.resource {
            ResourceConstraint::Any => Some(true),
            ResourceConstraint::Is(ty) => Some(self.case.kind.as_str() == ty.to_string()),
            ResourceConstraint::Eq(one) => {
                let (ty, id) = of(one);
                self.is(&ty, &id)
            }
            ResourceConstraint::In(group) => {
                let (ty, id) = of(group);
                self.is_in(&ty, &id)
            }
            ResourceConstraint::IsIn(is, group) => {
                let (ty, id) = of(group);
                all([Some(self.case.kind.as_str() == is.to_string()), self.is_in(&ty, &id)])
            }
        }
    }

    /// Whether the resource is the one that a policy names.
    fn is(&self, ty: &str, id: &str) -> Option<bool> {
        if ty != self.case.kind.as_str() {
            return Some(false);
        }
        match self.case.place {
            Place::Anywhere => None,
            Place::At(entity) => Some(entity.is(ty, id)),
            Place::Below(root) => (!is_at_or_below(id, root)).then_some(false),
            Place::Unnamed => Some(false),
        }
    }

    /// Whether the resource is in the group that a policy names, or is the one that it names.
    fn is_in(&self, ty: &str, id: &str) -> Option<bool> {
        let is_file = matches!(self.case.kind, Kind::Path | Kind::Program);
        match (ty, self.case.place) {
            ("Path" | "Roots", _) if !is_file => Some(false),
            ("Path", Place::At(entity)) => Some(entity.is_in(id)),
            ("Path", Place::Below(root)) if is_at_or_below(root, id) => Some(true),
            ("Path", Place::Below(root)) if !is_below(id, root) => Some(false),
            ("Roots", Place::At(entity)) => Some(entity.is_in_roots(id)),
            ("Roots", Place::Below(root)) => self.is_below_roots(root, id),
            ("Path" | "Roots", Place::Anywhere | Place::Below(_) | Place::Unnamed) => None,
            ("Display", _) if self.case.kind == Kind::Window => None,
            _ => self.is(ty, id),
        }
    }

    /// The deepest root of a path says which groups it is in, and there may be roots below this one.
    fn is_below_roots(&self, root: &str, group: &str) -> Option<bool> {
        let roots_from_here = self.roots.read.iter().filter(|other| is_at_or_below(other, root));
        let mut is_in = roots_from_here.map(|root| self.roots.group(group).contains(root));
        let first = is_in.next()?;
        is_in.all(|other| other == first).then_some(first)
    }

    /// Whether a condition holds.
    fn holds(&self, condition: &Value) -> Option<bool> {
        let (operator, body) = operation(condition)?;
        match operator {
            "Value" => body.as_bool(),
            "!" => self.holds(&body["arg"]).map(|holds| !holds),
            "&&" => all([self.holds(&body["left"]), self.holds(&body["right"])]),
            "||" => any([self.holds(&body["left"]), self.holds(&body["right"])]),
            "if-then-else" => match self.holds(&body["if"])? {
                true => self.holds(&body["then"]),
                false => self.holds(&body["else"]),
            },
            "==" => self.equal(&body["left"], &body["right"]),
            "!=" => self.equal(&body["left"], &body["right"]).map(|equal| !equal),
            "in" => any(one_or_several(&body["right"])?.map(|group| self.variable_in(&body["left"], group))),
            "is" if variable(&body["left"]) == Some("resource") => {
                let is = Some(body["entity_type"] == self.case.kind.as_str());
                let is_in = body.get("in").map(|group| self.variable_in(&body["left"], group));
                all([Some(is), is_in].into_iter().flatten())
            }
            "has" if variable(&body["left"]) == Some("context") => {
                let name = body["attr"].as_str()?;
                Some(name == "confirmed" || self.case.concrete.facts.contains_key(name))
            }
            "." if is_fact(body, "confirmed") => Some(self.confirmed),
            "contains" => {
                let text = self.text(&body["right"]);
                let items = body["left"].get("Set")?.as_array()?;
                any(items.iter().map(|item| Some(self.text(item)? == text?)))
            }
            _ => None,
        }
    }

    fn equal(&self, left: &Value, right: &Value) -> Option<bool> {
        if let (Some(left), Some(right)) = (self.text(left), self.text(right)) {
            return Some(left == right);
        }
        match (variable(left), variable(right)) {
            (Some("resource"), None) => entity(right).and_then(|(ty, id)| self.is(ty, id)),
            (None, Some("resource")) => entity(left).and_then(|(ty, id)| self.is(ty, id)),
            _ => Some(self.holds(left)? == self.holds(right)?),
        }
    }

    fn variable_in(&self, left: &Value, group: &Value) -> Option<bool> {
        let (ty, id) = entity(group)?;
        match variable(left)? {
            "resource" => self.is_in(ty, id),
            "principal" => self.is_user(ty, id),
            "action" => {
                let Concrete { uid, groups, .. } = self.case.concrete;
                Some(ty == "Action" && [uid].into_iter().chain(groups).any(|uid| uid.id().unescaped() == id))
            }
            _ => None,
        }
    }

    /// A text that is known.
    fn text<'a>(&'a self, value: &'a Value) -> Option<&'a str> {
        let (operator, body) = operation(value)?;
        match operator {
            "Value" => body.as_str(),
            "." => self.case.fact.filter(|(name, _)| is_fact(body, name)).map(|(_, text)| text),
            _ => None,
        }
    }
}

/// `false` where one is, `true` where all are.
fn all(conditions: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    conditions
        .into_iter()
        .try_fold(Some(true), |so_far, next| match next {
            Some(false) => Err(()),
            Some(true) => Ok(so_far),
            None => Ok(None),
        })
        .unwrap_or(Some(false))
}

/// `true` where one is, `false` where all are.
fn any(conditions: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    all(conditions.into_iter().map(|holds| holds.map(|holds| !holds))).map(|none| !none)
}

/// The one operator of an expression, and what it is applied to.
fn operation(expression: &Value) -> Option<(&str, &Value)> {
    let mut fields = expression.as_object()?.iter();
    let (operator, body) = fields.next()?;
    fields.next().is_none().then_some((operator.as_str(), body))
}

fn variable(expression: &Value) -> Option<&str> {
    expression.get("Var")?.as_str()
}

/// Whether what stands before and behind a dot is a fact of this name.
fn is_fact(access: &Value, name: &str) -> bool {
    variable(&access["left"]) == Some("context") && access["attr"] == name
}

fn entity(expression: &Value) -> Option<(&str, &str)> {
    let entity = expression.get("Value")?.get("__entity")?;
    Some((entity["type"].as_str()?, entity["id"].as_str()?))
}

/// The items of a set that stands in a policy, or the one thing that does.
fn one_or_several(expression: &Value) -> Option<std::slice::Iter<'_, Value>> {
    match expression.get("Set") {
        Some(items) => Some(items.as_array()?.iter()),
        None => Some(std::slice::from_ref(expression).iter()),
    }
}
