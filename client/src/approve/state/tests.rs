use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::held::tests::held;

fn summary(id: &str) -> Summary {
    Summary {
        pending_id: id.to_owned(),
        request_id: Some("r-1".to_owned()),
        session_id: None,
        uid: 1000,
        age_s: 3,
        expires_in_s: 60,
        actions: vec!["exec.run".to_owned(), "fs.read".to_owned()],
    }
}

/// A screen on which the plans wait.
struct Bench {
    state: State,
    at: u64,
}

impl Bench {
    fn with(ids: &[&str]) -> Self {
        let mut bench = Self { state: State::new(BTreeMap::new(), false), at: 0 };
        let shown = bench.step(Event::List(ids.iter().map(|id| summary(id)).collect()));
        assert_eq!(shown, [Effect::Do(Job::Show(ids[0].to_owned()))], "the first one is asked for, once");
        bench
    }

    /// The one plan `p-1`, all of it read.
    fn read(change: impl Fn(&mut Held)) -> Self {
        let mut bench = Self::with(&["p-1"]);
        bench.load(change);
        for _ in 0..50 {
            bench.step(Event::Drawn);
            bench.key(Key::Char(' '));
        }
        bench.step(Event::Drawn);
        bench
    }

    fn load(&mut self, change: impl Fn(&mut Held)) {
        let mut held = held(&json!({"argv": ["/bin/echo", "hi"]}), "greet");
        change(&mut held);
        self.step(Event::Plan("p-1".to_owned(), Ok(Box::new(held))));
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.state.step(Duration::from_secs(self.at), event)
    }

    fn key(&mut self, key: Key) -> Vec<Effect> {
        self.step(Event::Key(key))
    }

    fn types(&mut self, word: &str) -> Vec<Effect> {
        let mut effects: Vec<_> = word.chars().flat_map(|c| self.key(Key::Char(c))).collect();
        effects.extend(self.key(Key::Enter));
        effects
    }

    #[track_caller]
    fn says(&self, what: &str) {
        let said = &self.state.status.as_ref().unwrap().1;
        assert!(said.contains(what), "{said}");
    }
}

fn approval(session: bool) -> Job {
    let sha256 = held(&json!({"argv": ["/bin/echo", "hi"]}), "greet").sha256;
    Job::Approve { pending_id: "p-1".to_owned(), sha256, session, signature: None }
}

#[test]
fn the_word_yes_and_enter_approve_exactly_what_was_shown() {
    let mut bench = Bench::read(|_| {});
    bench.key(Key::Char('a'));
    bench.step(Event::Drawn);
    assert_eq!(bench.types("yes"), [Effect::Do(approval(false))]);
    bench.key(Key::Char('a'));
    bench.says("is being decided");
    bench.step(Event::Decided("p-1".to_owned(), Ok("was approved here".to_owned())));
    bench.says("was approved here");
    bench.key(Key::Char('a'));
    assert!(bench.state.question.is_none(), "what is decided is not asked about");
}

/// C16.
#[test]
fn anything_but_the_word_is_no() {
    for keys in [vec![Key::Enter], vec![Key::Esc], vec![Key::Char('y'), Key::Enter], vec![Key::Tab]] {
        let mut bench = Bench::read(|_| {});
        bench.key(Key::Char('a'));
        bench.step(Event::Drawn);
        let effects: Vec<_> = keys.into_iter().flat_map(|key| bench.key(key)).collect();
        assert_eq!((effects, bench.state.question.is_none()), (Vec::new(), true));
        bench.says("still waits");
    }
    for word in ["YES", "yes!", "y", "no", "session", "yyes"] {
        let mut bench = Bench::read(|_| {});
        bench.key(Key::Char('a'));
        bench.step(Event::Drawn);
        assert_eq!(bench.types(word), [], "{word}");
    }
}

#[test]
fn what_is_typed_before_the_question_is_on_the_screen_is_no_answer() {
    let mut bench = Bench::read(|_| {});
    bench.key(Key::Char('a'));
    assert_eq!(bench.types("yes"), []);
    bench.step(Event::Drawn);
    assert_eq!(bench.key(Key::Enter), []);
    assert!(bench.state.question.is_none());
}

#[test]
fn a_plan_is_not_asked_about_before_all_of_it_was_on_the_screen() {
    let mut bench = Bench::with(&["p-1"]);
    bench.key(Key::Char('a'));
    bench.says("not shown yet");
    bench.load(|_| {});
    bench.step(Event::Size(40, 10));
    bench.step(Event::Drawn);
    bench.key(Key::End);
    bench.step(Event::Drawn);
    bench.key(Key::Char('a'));
    bench.says("rows were not on the screen yet");
    assert!(bench.state.question.is_none(), "the end alone is not the whole");
    for _ in 0..100 {
        bench.step(Event::Drawn);
        bench.key(Key::Char(' '));
    }
    bench.step(Event::Size(30, 10));
    bench.key(Key::Char('a'));
    assert!(
        bench.state.question.is_some(),
        "what was read stays read at another width: {:?}",
        bench.state.status
    );
}

#[test]
fn a_plan_that_cannot_be_shown_completely_is_not_approved_but_can_be_denied() {
    let mut bench = Bench::read(|held| held.sha256 = "0".repeat(64));
    bench.key(Key::Char('a'));
    bench.says("cannot be shown");
    bench.key(Key::Char('d'));
    bench.step(Event::Drawn);
    assert_eq!(bench.types("no"), [Effect::Do(Job::Deny("p-1".to_owned()))]);
}

#[test]
fn the_question_closes_when_its_plan_expires_is_decided_elsewhere_or_goes_with_its_host() {
    type End = (fn(&mut Bench), &'static str);
    let ends: [End; 3] = [
        (
            |bench| {
                bench.at = 61;
                bench.step(Event::Tick);
            },
            "expired",
        ),
        (|bench| drop(bench.step(Event::List(vec![summary("p-2")]))), "decided elsewhere"),
        (|bench| drop(bench.step(Event::Lost("closed".to_owned()))), "the host is gone"),
    ];
    for (end, why) in ends {
        let mut bench = Bench::read(|_| {});
        bench.key(Key::Char('a'));
        bench.step(Event::Drawn);
        end(&mut bench);
        assert_eq!(bench.types("yes"), [], "{why}");
        assert_eq!(bench.state.selected.as_deref(), Some("p-1"), "nothing moves under the fingers");
        bench.key(Key::Char('a'));
        bench.says(why);
    }
}

#[test]
fn the_selection_stays_with_its_plan_whatever_comes_and_goes() {
    let mut bench = Bench::with(&["p-1", "p-2", "p-3"]);
    bench.key(Key::Down);
    bench.step(Event::List(vec![summary("p-0"), summary("p-2")]));
    assert_eq!(bench.state.selected.as_deref(), Some("p-2"));
    bench.step(Event::List(vec![summary("p-0")]));
    assert_eq!(bench.state.selected.as_deref(), Some("p-2"), "gone, and still there to be read");
    bench.key(Key::Up);
    assert_eq!(bench.state.selected.as_deref(), Some("p-0"));
    assert_eq!(bench.state.plans.len(), 1, "what was left behind is not in the list any more");
}

#[test]
fn a_session_is_approved_by_its_own_word_and_only_where_the_host_offers_it() {
    let mut bench = Bench::read(|held| held.not_grantable = Some("it runs a shell\u{1b}[2K".to_owned()));
    bench.key(Key::Char('A'));
    bench.says("it runs a shell\\u{1b}[2K");
    let offer = |held: &mut Held| {
        held.grant = vec!["exec.run of /bin/echo\u{202e}".to_owned()];
    };
    let mut bench = Bench::read(offer);
    bench.key(Key::Char('A'));
    let rows = question_rows(bench.state.question.as_ref().unwrap(), 80);
    assert!(rows.contains(&"- exec.run of /bin/echo\\u{202e}".to_owned()), "{rows:?}");
    bench.step(Event::Drawn);
    assert_eq!(bench.types("yes"), []);
    bench.key(Key::Char('A'));
    bench.step(Event::Drawn);
    assert_eq!(bench.types("session"), [Effect::Do(approval(true))]);
}

#[test]
fn a_grant_that_does_not_fit_is_read_to_its_end_first() {
    let mut bench = Bench::read(|held| {
        held.grant = (0..40).map(|n| format!("sentence {n}")).collect();
    });
    bench.key(Key::Char('A'));
    bench.step(Event::Drawn);
    assert_eq!(bench.types("session"), []);
    bench.key(Key::Char('A'));
    bench.step(Event::Drawn);
    for _ in 0..60 {
        bench.key(Key::Down);
        bench.step(Event::Drawn);
    }
    assert_eq!(bench.types("session"), [Effect::Do(approval(true))]);
}

#[test]
fn where_approvals_are_signed_a_key_is_needed_and_the_statement_is_that_of_the_question() {
    let signed = |held: &mut Held| {
        held.ask_for_signatures();
        held.grant = vec!["again exactly: exec.run".to_owned()];
    };
    let mut bench = Bench::read(signed);
    bench.key(Key::Char('a'));
    bench.says("--sign-with KEY");
    bench.state.signs = true;
    for (key, word, session) in [('a', "yes", false), ('A', "session", true)] {
        let mut bench = Bench::read(signed);
        bench.state.signs = true;
        bench.key(Key::Char(key));
        bench.step(Event::Drawn);
        let [Effect::Sign(job, statement)] = &bench.types(word)[..] else {
            panic!("nothing is to be signed")
        };
        assert_eq!((job, statement.session, statement.uid), (&approval(session), session, 1000));
    }
}

#[test]
fn a_decision_that_the_host_did_not_take_leaves_the_plan_open() {
    let mut bench = Bench::read(|_| {});
    bench.key(Key::Char('a'));
    bench.step(Event::Drawn);
    bench.types("yes");
    bench.step(Event::List(Vec::new()));
    bench.step(Event::Decided("p-1".to_owned(), Err("audit_unavailable".to_owned())));
    bench.says("audit_unavailable");
    bench.step(Event::List(vec![summary("p-1")]));
    bench.key(Key::Char('a'));
    assert!(bench.state.question.is_some());
}

/// Keys and other events, with the words that matter more often than chance would have them.
fn events() -> impl Strategy<Value = Vec<char>> {
    let piece = prop_oneof![
        3 => Just("a"), 2 => Just("A"), 4 => Just("D"), 3 => Just("yes"), 2 => Just("session"), 4 => Just("\n"),
        1 => Just("d"), 1 => Just("no"), 1 => Just("T"), 1 => Just("L"), 1 => Just("\u{1b}"), 1 => Just("u"),
        1 => Just("y"), 1 => Just(" "), 1 => Just("x"), 1 => Just("aDyes\n"), 1 => Just("ADsession\n"),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat().chars().collect())
}

proptest! {
    /// Whatever is typed: an approval comes only of the word, typed whole after its question was on the screen, and Enter.
    #[test]
    fn no_keys_approve_but_the_word_and_enter_after_the_question(events in events()) {
        let mut bench = Bench::read(|held| held.grant = vec!["again".to_owned()]);
        let mut past = Vec::new();
        for c in events {
            past.push(c);
            let effects = match c {
                'D' => bench.step(Event::Drawn),
                'T' => bench.step(Event::Tick),
                'L' => bench.step(Event::List(vec![summary("p-1")])),
                '\n' => bench.key(Key::Enter),
                '\u{1b}' => bench.key(Key::Esc),
                'u' => bench.key(Key::Up),
                c => bench.key(Key::Char(c)),
            };
            for effect in effects {
                if let Effect::Do(Job::Approve { session, .. }) = effect {
                    let (opener, word) = if session { ('A', "session\n") } else { ('a', "yes\n") };
                    let counted: String = past.iter().filter(|c| !matches!(c, 'T' | 'L' | 'u')).collect();
                    let opened = counted.rfind(opener).unwrap();
                    let (_, after) = counted[opened..].split_once('D').expect("drawn after it was opened");
                    prop_assert_eq!(after.replace('D', ""), word);
                    // The same plan is decided once.
                    return Ok(());
                }
            }
        }
    }

    #[test]
    fn any_order_of_events_leaves_a_screen_that_fits(events in events(), columns in 1_usize..200, rows in 1_usize..60) {
        let mut bench = Bench::read(|_| {});
        bench.step(Event::Size(columns, rows));
        for c in events {
            match c {
                'D' => drop(bench.step(Event::Drawn)),
                'L' => drop(bench.step(Event::List(vec![summary("p-2"), summary("p-3")]))),
                'T' => drop(bench.step(Event::Lost("closed".to_owned()))),
                '\n' => drop(bench.key(Key::Enter)),
                'u' => drop(bench.key(Key::Down)),
                c => drop(bench.key(Key::Char(c))),
            }
            let areas = bench.state.areas();
            prop_assert!(areas.body + areas.question <= rows);
        }
    }
}
