//! Who reads what is printed, a person or a program, and in which form.

use crate::cli::{Cli, Command, Options};
use crate::exit::Failure;
use crate::output::Form;

impl Cli {
    /// How the answer is printed, as the options say; else text for a terminal and JSON for a program.
    ///
    /// # Errors
    ///
    /// Options that contradict each other, or the command.
    pub(crate) fn form(&self, to_terminal: bool) -> Result<Form, Failure> {
        let Options { json, text, pretty, .. } = self.options;
        let has_text = self.command.has_text();
        if text && (json || pretty) {
            let other = if json { "--json" } else { "--pretty" };
            return Err(Failure::Usage(format!(
                "--text and {other} contradict each other: give one of them"
            )));
        }
        if text && !has_text {
            let why = "--text: this command prints JSON for a program, and has no text; these have: ping, describe, pending, grants, revoke, deny, \
                       halt, resume and audit";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(match (pretty, text || (to_terminal && has_text && !json)) {
            (true, _) => Form::Pretty,
            (false, true) => Form::Text,
            (false, false) => Form::Json,
        })
    }
}

impl Command {
    /// Whether there is a text for people of what it prints.
    fn has_text(&self) -> bool {
        match self {
            Command::Send(_)
            | Command::Do(_)
            | Command::Schema(_)
            | Command::Computer(_)
            | Command::Mcp(_) => false,
            Command::Describe { .. }
            | Command::Ping
            | Command::Pending { .. }
            | Command::Approve(_)
            | Command::Grants
            | Command::Revoke { .. }
            | Command::Deny { .. }
            | Command::Halt
            | Command::Resume
            | Command::Audit(_)
            | Command::Completions { .. }
            | Command::Man { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// What is printed to a pipe and to a terminal.
    #[track_caller]
    fn forms(line: &str) -> [Option<Form>; 2] {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        [false, true].map(|to_terminal| cli.form(to_terminal).ok())
    }

    #[test]
    fn people_get_text_programs_get_json_and_options_decide() {
        use Form::{Json, Pretty, Text};
        let check = |line: &str, expected: [Form; 2]| assert_eq!(forms(line), expected.map(Some), "{line}");
        check("llmsh ping", [Json, Text]);
        check("llmsh ping --json", [Json, Json]);
        check("llmsh ping --text", [Text, Text]);
        check("llmsh ping --pretty", [Pretty, Pretty]);
        check("llmsh ping --json --pretty", [Pretty, Pretty]);
        check("llmsh send -", [Json, Json]);
        check("llmsh send - --pretty", [Pretty, Pretty]);
    }

    #[test]
    fn what_contradicts_itself_is_refused_wherever_it_stands() {
        for line in
            ["ping --text --json", "--text ping --json", "--text --pretty audit verify", "send - --text"]
        {
            assert_eq!(forms(&format!("llmsh {line}")), [None, None], "{line}");
        }
    }
}
