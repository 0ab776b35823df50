//! The parameters of one call, taken by name.

use llm_os_core::error::excerpt;
use serde::de::DeserializeOwned;

use crate::envelope::Fields;

/// What a call says. Each parameter is taken once; what is left at the end is refused, since a parameter that is passed
/// over would be an action that was not asked for.
pub(crate) struct Input {
    call: String,
    fields: Fields,
}

impl Input {
    /// The parameters of the call of this name. One that is null counts as absent: the APIs say so.
    pub(crate) fn new(call: &str, fields: Fields) -> Self {
        Self { call: excerpt(call), fields: fields.without_null() }
    }

    /// Reads them.
    pub(crate) fn read(call: &str, text: &str) -> Result<Self, String> {
        let fields = Fields::read(text.as_bytes()).map_err(|e| {
            format!("{}: the input is \"{}\", expected a JSON object ({e})", excerpt(call), excerpt(text))
        })?;
        Ok(Self::new(call, fields))
    }

    /// The rest of them, as those of a call of another name.
    pub(crate) fn called(self, call: &str) -> Self {
        Self { call: excerpt(call), ..self }
    }

    /// A parameter that may be absent.
    pub(crate) fn get<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.fields.take(name) else { return Ok(None) };
        let value = serde_json::from_str(text.get());
        value.map(Some).map_err(|_| self.wrong(name, text.get(), expected))
    }

    /// A parameter that must be there.
    pub(crate) fn need<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Result<T, String> {
        self.get(name, expected)?
            .ok_or_else(|| format!("{}: {name} is missing, expected {expected}", self.call))
    }

    /// What is wrong with the value of a parameter.
    pub(crate) fn wrong(&self, name: &str, found: &str, expected: &str) -> String {
        format!("{}: {name} is {}, expected {expected}", self.call, excerpt(found))
    }

    /// Refuses what nobody took.
    pub(crate) fn done(self) -> Result<(), String> {
        match self.fields.names().next() {
            None => Ok(()),
            Some(name) => Err(format!(
                "{}: there is no parameter \"{}\", or it stands there twice; nothing was done",
                self.call,
                excerpt(name)
            )),
        }
    }
}
