//! The drawing: what the state holds, in cells. Every text in it is printable ASCII already, or is made so here.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Paragraph, Widget};

use crate::approve::layout::Row as Piece;
use crate::approve::picture::{CROSS, Cell};
use crate::approve::question::Question;
use crate::approve::sheet::Sheet;
use crate::approve::state::{Content, Focus, Plan, State, Tone, named, question_rows};
use crate::held::{Line, Look};
use crate::screen::{plain, wrapped};

const KEYS: &str = "a approve  A for the session  d deny  Space read on  Tab list/plan  ? help  q leave";
const UNCHECKED: &str = " UNCHECKED: the requester's own words ";
const HELP: &[&str] = &[
    "Up k, Down j     move in the list, or in the plan: Tab changes between them",
    "Space, PageDown  reads on; PageUp back; Home, End",
    "a                asks whether exactly this plan may run once; the answer is: yes, Enter",
    "A                the same, and the same again for this session; the answer is: session, Enter",
    "d                asks whether it is denied; the answer is: no, Enter",
    "z                the surroundings of a click in full size, and back",
    "s                saves the picture with its cross to the current folder",
    "q                leaves; what waits still waits",
    "",
    "A plan is only asked about once all of it was on the screen. Every other answer is no.",
];

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    None,
    Ansi256,
    True,
}

impl Colours {
    pub(crate) fn of_environment() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let is = |name: &str, known: &[&str]| {
            variable(name).is_some_and(|value| known.iter().any(|part| value.contains(part)))
        };
        if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) || is("TERM", &["dumb"]) {
            Colours::None
        } else if is("COLORTERM", &["truecolor", "24bit"]) {
            Colours::True
        } else {
            Colours::Ansi256
        }
    }

    fn fg(self, style: Style, color: Color) -> Style {
        match self {
            Colours::None => style,
            Colours::Ansi256 | Colours::True => style.fg(color),
        }
    }

    fn exact(self, [r, g, b]: [u8; 3]) -> Color {
        match self {
            Colours::None => Color::Reset,
            Colours::True => Color::Rgb(r, g, b),
            Colours::Ansi256 => {
                let step = |part: u8| u8::try_from((u16::from(part) * 5 + 127) / 255).unwrap_or(5);
                Color::Indexed(16 + 36 * step(r) + 6 * step(g) + step(b))
            }
        }
    }
}

/// Draws a state.
pub(crate) struct View {
    colours: Colours,
}

impl View {
    pub(crate) fn new(colours: Colours) -> Self {
        Self { colours }
    }

    pub(crate) fn draw(&self, state: &State, frame: &mut Frame<'_>) {
        let area = frame.area();
        let areas = state.areas();
        let mut y = 0;
        let mut take = |rows: usize| {
            let rows = u16::try_from(rows).unwrap_or(u16::MAX).min(area.height.saturating_sub(y));
            let taken = Rect { x: 0, y, width: area.width, height: rows };
            y += rows;
            taken
        };
        let (head, list, title) = (take(1), take(areas.list), take(1));
        let (body, asked, status, keys) =
            (take(areas.body), take(areas.question), take(areas.status), take(1));
        self.head(state, frame, head);
        self.list(state, frame, list);
        self.title(state, frame, title);
        if state.has_help {
            let rows: Vec<_> = HELP.iter().map(|line| Row::raw(*line)).collect();
            frame.render_widget(Paragraph::new(rows), body);
        } else {
            self.body(state, frame, body);
        }
        if let Some(question) = &state.question {
            self.question(question, frame, asked);
        }
        if let Some((tone, text)) = &state.status {
            let style = match tone {
                Tone::Good => self.colours.fg(Style::new(), Color::Green),
                Tone::Bad => self.colours.fg(Style::new().add_modifier(Modifier::BOLD), Color::Red),
                Tone::Plain => Style::new(),
            };
            let rows: Vec<_> = wrapped(text, area.width.into()).into_iter().map(Row::raw).collect();
            frame.render_widget(Paragraph::new(rows).style(style), status);
        }
        frame.render_widget(Row::styled(KEYS, Style::new().add_modifier(Modifier::DIM)), keys);
    }

    fn head(&self, state: &State, frame: &mut Frame<'_>, area: Rect) {
        let waiting = state.plans.iter().filter(|plan| plan.gone.is_none()).count();
        let (text, style) = match &state.host {
            None => ("llmsh approve: asking the host".to_owned(), Style::new()),
            Some(Ok(())) if waiting == 0 => ("llmsh approve: nothing waits".to_owned(), Style::new()),
            Some(Ok(())) if waiting == 1 => ("llmsh approve: 1 plan waits".to_owned(), Style::new()),
            Some(Ok(())) => (format!("llmsh approve: {waiting} plans wait"), Style::new()),
            Some(Err(why)) => (
                format!("llmsh approve: looking for the host: {why}"),
                self.colours.fg(Style::new(), Color::Red),
            ),
        };
        frame.render_widget(Row::styled(text, style.add_modifier(Modifier::REVERSED)), area);
    }

    fn list(&self, state: &State, frame: &mut Frame<'_>, area: Rect) {
        let height = usize::from(area.height);
        let selected =
            state.plans.iter().position(|plan| Some(&plan.summary.pending_id) == state.selected.as_ref());
        let first = selected.unwrap_or(0).saturating_sub(height.saturating_sub(1));
        let rows = state.plans.iter().enumerate().skip(first).take(height).map(|(index, plan)| {
            let is_selected = Some(index) == selected;
            let mark = if is_selected { "> " } else { "  " };
            let style = match (is_selected, state.focus) {
                (true, Focus::List) => Style::new().add_modifier(Modifier::REVERSED),
                (true, Focus::Plan) => Style::new().add_modifier(Modifier::BOLD),
                (false, _) => Style::new(),
            };
            Row::styled(format!("{mark}{}", entry(state, plan)), style)
        });
        frame.render_widget(Paragraph::new(rows.collect::<Vec<_>>()), area);
    }

    fn title(&self, state: &State, frame: &mut Frame<'_>, area: Rect) {
        let text = match state.current() {
            None => String::new(),
            Some(plan) => {
                let id = plain(&plan.summary.pending_id);
                match &plan.content {
                    Content::Shown(sheet) => {
                        let body = state.areas().body;
                        let end = (sheet.top() + body.max(1)).min(sheet.rows());
                        let unread = match sheet.unread_below(body) {
                            0 => "all read".to_owned(),
                            unread => format!("{unread} unread"),
                        };
                        format!(" rows {} to {end} of {}, {unread}: {id} ", sheet.top() + 1, sheet.rows())
                    }
                    Content::Unasked | Content::Asked | Content::Unshown(_) => format!(" {id} "),
                }
            }
        };
        let width = usize::from(area.width);
        let style = match state.focus {
            Focus::Plan => Style::new().add_modifier(Modifier::BOLD),
            Focus::List => Style::new(),
        };
        frame.render_widget(Row::styled(format!("{text:-^width$}"), style), area);
    }

    fn body(&self, state: &State, frame: &mut Frame<'_>, area: Rect) {
        let note = match state.current() {
            None if matches!(state.host, Some(Ok(()))) => {
                "Plans that need a human appear here as they come.".to_owned()
            }
            None => return,
            Some(Plan { content: Content::Shown(sheet), .. }) => return self.sheet(sheet, frame, area),
            Some(Plan { content: Content::Unshown(why), .. }) => format!("This plan cannot be shown: {why}"),
            Some(Plan { content: Content::Unasked | Content::Asked, .. }) => {
                "The plan is on its way.".to_owned()
            }
        };
        let rows: Vec<_> = wrapped(&note, area.width.into()).into_iter().map(Row::raw).collect();
        frame.render_widget(Paragraph::new(rows), area);
    }

    fn sheet(&self, sheet: &Sheet, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width);
        let pieces = sheet.layout().rows().iter().skip(sheet.top()).take(area.height.into());
        for (y, piece) in (area.y..).zip(pieces) {
            let row = match piece {
                Piece::Top => Row::raw(format!("+{UNCHECKED:-^0$}+", width.saturating_sub(2))),
                Piece::Bottom => Row::raw(format!("+{}+", "-".repeat(width.saturating_sub(2)))),
                Piece::Picture { picture, row } => {
                    match sheet.cells().get(*picture).and_then(|cells| cells.get(*row)) {
                        Some(cells) => self.picture(cells),
                        None => Row::raw(format!("    {}", plain(&sheet.without_picture(*picture)))),
                    }
                }
                Piece::Text { line: index, start, end } => {
                    let line = &sheet.page().lines()[*index];
                    let mut row = self.text(line, *start, *end);
                    if *index >= sheet.page().words() {
                        row.spans.insert(0, Span::raw("| "));
                        let used = row.width();
                        row.push_span(Span::raw(format!("{:>1$}", "|", width.saturating_sub(used))));
                    }
                    row
                }
            };
            row.render(Rect { y, height: 1, ..area }, frame.buffer_mut());
        }
    }

    fn text<'a>(&self, line: &'a Line, start: usize, end: usize) -> Row<'a> {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let style = match line.look {
            Look::Head => bold,
            Look::Text | Look::Foreign | Look::Same => Style::new(),
            Look::Attention => self.colours.fg(bold, Color::Yellow),
            Look::Added => self.colours.fg(Style::new(), Color::Green),
            Look::Removed => self.colours.fg(Style::new(), Color::Red),
        };
        let margin = if line.look.has_margin() { "| " } else { "" };
        let mut spans = vec![Span::raw(format!("{}{margin}", " ".repeat(line.indent)))];
        let mark = self.colours.fg(Style::new().add_modifier(Modifier::REVERSED), Color::Yellow);
        let mut at = start;
        let first = line.marks().partition_point(|mark| mark.end <= start);
        for range in line.marks()[first..].iter().take_while(|mark| mark.start < end) {
            let (from, to) = (range.start.max(start), range.end.min(end));
            spans.push(Span::styled(&line.text()[at..from], style));
            spans.push(Span::styled(&line.text()[from..to], mark));
            at = to;
        }
        spans.push(Span::styled(&line.text()[at..end], style));
        Row::from(spans)
    }

    fn picture(&self, cells: &[Cell]) -> Row<'static> {
        const RAMP: &[u8] = b" .:-=+*#%@";
        let mut spans = vec![Span::raw("    ")];
        spans.extend(cells.iter().map(|[upper, lower]| match self.colours {
            Colours::None if [upper, lower].contains(&&CROSS) => Span::raw("X"),
            Colours::None => {
                let sum: usize = upper.iter().chain(lower).map(|part| usize::from(*part)).sum();
                let step = sum * (RAMP.len() - 1) / (6 * 255);
                Span::raw(char::from(RAMP[step]).to_string())
            }
            Colours::Ansi256 | Colours::True => {
                let style = Style::new().fg(self.colours.exact(*upper)).bg(self.colours.exact(*lower));
                Span::styled("\u{2580}", style)
            }
        }));
        Row::from(spans)
    }

    fn question(&self, question: &Question, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width);
        let room = usize::from(area.height).saturating_sub(2);
        let rows = question_rows(question, width);
        let more = rows.len().saturating_sub(question.top + room);
        let edge = if more > 0 { format!(" {more} more rows: Down ") } else { String::new() };
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut shown = vec![Row::raw(format!("{edge:=^width$}"))];
        shown.extend(rows.into_iter().skip(question.top).take(room).map(|row| Row::styled(row, bold)));
        let prompt = format!("Type {} and Enter; all else is no: ", question.ask.word());
        let prompt = if question.is_read() || more == 0 {
            prompt
        } else {
            "Read it to its end first (Down): ".to_owned()
        };
        // It can be answered once it is on the screen: what is typed before that is dropped.
        let prompt = if question.is_new() { String::new() } else { prompt };
        let cursor = prompt.len() + question.typed.len();
        shown.push(Row::raw(format!("{prompt}{}", question.typed)));
        frame.render_widget(Paragraph::new(shown), area);
        let x = u16::try_from(cursor).unwrap_or(u16::MAX).min(area.width.saturating_sub(1));
        frame.set_cursor_position(Position { x, y: area.bottom().saturating_sub(1) });
    }
}

/// A plan in the list: what it would do, whose it is, how long it waits.
fn entry(state: &State, plan: &Plan) -> String {
    let summary = &plan.summary;
    let names: Vec<_> = summary.actions.iter().map(String::as_str).collect();
    let (age, left) = state.ages(plan);
    let when = match &plan.gone {
        Some(why) => plain(why),
        None => format!("{age} s, expires in {left} s"),
    };
    let own = |name: &str, id: &Option<String>| {
        id.as_ref().map_or(String::new(), |id| format!("  {name} {}", plain(id)))
    };
    format!(
        "{}  {}  {when}{}{}  {}",
        named(&names),
        state.user(summary.uid),
        own("session", &summary.session_id),
        own("request", &summary.request_id),
        plain(&summary.pending_id),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_environment() {
        let check = |variables: &[(&str, &str)], expected| {
            let found = Colours::of(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            });
            assert_eq!(found, expected, "{variables:?}");
        };
        check(&[("TERM", "xterm"), ("COLORTERM", "truecolor")], Colours::True);
        check(&[("TERM", "screen-256color")], Colours::Ansi256);
        check(&[("TERM", "xterm"), ("COLORTERM", "truecolor"), ("NO_COLOR", "1")], Colours::None);
        check(&[("TERM", "xterm"), ("NO_COLOR", "")], Colours::Ansi256);
        check(&[("TERM", "dumb")], Colours::None);
    }
}
