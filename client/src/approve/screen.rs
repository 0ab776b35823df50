//! The loop of the screen: waits, lets the state take what happened, does what it says, draws.

use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Read, Stdout};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use llm_os_core::approval::Statement;
use ratatui::Terminal as Drawn;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event as Typed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush};

use crate::approve::keys::Key;
use crate::approve::question::Question;
use crate::approve::state::{Effect, Event, Job, State, Tone};
use crate::approve::view::{Colours, View};
use crate::approve::watch::{Outbox, signals, watch, work};
use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::screen::say;
use crate::sign::sign;

/// A frame is written at once, so that no half of one is seen, also over a slow line.
type Terminal = Drawn<CrosstermBackend<BufWriter<Stdout>>>;
/// More than most frames have, in bytes.
const FRAME: usize = 1 << 20;
/// How often the ages on the screen are counted on.
const SECOND: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Shows what waits until its user leaves.
///
/// # Errors
///
/// Where there is no terminal, or it ends. Nothing is decided by an end.
pub(crate) fn run(host: &Host, sign_with: Option<PathBuf>) -> Result<Exit, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let why = "the approval screen needs a terminal on stdin and stdout; without one: llmsh pending, then \
                   llmsh approve ID";
        return Err(Failure::Usage(why.to_owned()));
    }
    let (events, inbox) = channel();
    let (wake, woken) = pair()?;
    let outbox = || -> Result<Outbox, Failure> {
        Ok(Outbox { events: events.clone(), wake: wake.try_clone().map_err(|e| ended(&e))? })
    };
    let (jobs, to_do) = channel();
    signals(outbox()?)?;
    let (to_watch, watched) = (host.another(), outbox()?);
    std::thread::spawn(move || watch(&to_watch, &watched));
    let (to_ask, asked) = (host.another(), outbox()?);
    std::thread::spawn(move || work(&to_ask, &to_do, &asked));
    let mut screen = Screen {
        state: State::new(users(), sign_with.is_some()),
        view: View::new(Colours::of_environment()),
        inbox,
        woken,
        jobs,
        sign_with,
        start: Instant::now(),
        is_over: false,
    };
    let mut terminal = enter()?;
    let end = screen.serve(&mut terminal);
    ratatui::restore();
    screen.state.decisions.iter().for_each(|decision| say(decision));
    end
}

/// Takes the terminal; whatever ends this program then gives it back.
fn enter() -> Result<Terminal, Failure> {
    drop(ratatui::try_init().map_err(|e| ended(&e))?);
    let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME, std::io::stdout()));
    Drawn::new(backend).map_err(|e| ended(&e))
}

fn pair() -> Result<(UnixStream, UnixStream), Failure> {
    let (wake, woken) = UnixStream::pair().map_err(|e| ended(&e))?;
    wake.set_nonblocking(true).and_then(|()| woken.set_nonblocking(true)).map_err(|e| ended(&e))?;
    Ok((wake, woken))
}

fn ended(e: &std::io::Error) -> Failure {
    Failure::NotApproved(format!("the terminal cannot be used: {e}; what waits still waits"))
}

struct Screen {
    state: State,
    view: View,
    inbox: Receiver<Event>,
    woken: UnixStream,
    jobs: Sender<Job>,
    sign_with: Option<PathBuf>,
    start: Instant,
    is_over: bool,
}

impl Screen {
    fn serve(&mut self, terminal: &mut Terminal) -> Result<Exit, Failure> {
        loop {
            let size = terminal.size().map_err(|e| ended(&e))?;
            self.step(terminal, Event::Size(size.width.into(), size.height.into()))?;
            terminal.draw(|frame| self.view.draw(&self.state, frame)).map_err(|e| ended(&e))?;
            let is_asked = self.state.question.as_ref().is_some_and(Question::is_new);
            if is_asked {
                forget_typed()?;
                self.step(terminal, Event::Drawn)?;
                continue;
            }
            self.step(terminal, Event::Drawn)?;
            if self.is_over {
                return Ok(Exit::Ok);
            }
            self.wait(terminal)?;
            if self.is_over {
                return Ok(Exit::Ok);
            }
        }
    }

    /// Waits for a key, for a thread, or for the next second, and takes everything there is.
    fn wait(&mut self, terminal: &mut Terminal) -> Result<(), Failure> {
        let stdin = std::io::stdin();
        let mut waiting =
            [PollFd::new(&stdin, PollFlags::IN), PollFd::from_borrowed_fd(self.woken.as_fd(), PollFlags::IN)];
        match poll(&mut waiting, Some(&SECOND)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(ended(&e.into())),
        }
        let told = waiting[1].revents();
        if told.contains(PollFlags::IN) {
            let mut woken = &self.woken;
            while matches!(woken.read(&mut [0; 64]), Ok(1..)) {}
        }
        self.step(terminal, Event::Tick)?;
        while let Ok(event) = self.inbox.try_recv() {
            self.step(terminal, event)?;
        }
        while !self.is_over
            && let Some(typed) = typed()?
        {
            if let Typed::Key(key) = typed
                && let Some(key) = Key::of(key)
            {
                self.step(terminal, Event::Key(key))?;
            }
            // What follows was typed before this question was on the screen.
            if self.state.question.as_ref().is_some_and(Question::is_new) {
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self, terminal: &mut Terminal, event: Event) -> Result<(), Failure> {
        for effect in self.state.step(self.start.elapsed(), event) {
            match effect {
                Effect::Quit => self.is_over = true,
                Effect::Do(job) => self.send(job),
                Effect::Sign(job, statement) => self.sign(terminal, job, &statement)?,
                Effect::Save(name, index) => {
                    let saved = self.state.picture(index).map(|picture| picture.save(Path::new(&name)));
                    if let Some(saved) = saved {
                        self.step(terminal, Event::Saved(saved.map(|()| name)))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, job: Job) {
        if self.jobs.send(job).is_err() {
            self.state
                .say(Tone::Bad, "nothing can be asked of the host any more; leave with q and start again");
        }
    }

    /// Signs outside of the screen: `ssh-keygen` may ask for a passphrase on the terminal.
    fn sign(&mut self, terminal: &mut Terminal, job: Job, statement: &Statement) -> Result<(), Failure> {
        let Job::Approve { pending_id, sha256, session, signature: _ } = job else { return Ok(()) };
        ratatui::try_restore().map_err(|e| ended(&e))?;
        let signed = match &self.sign_with {
            Some(key) => sign(key, &statement.to_string()).map_err(|failure| failure.to_string()),
            None => Err("no key was named: --sign-with KEY".to_owned()),
        };
        *terminal = enter()?;
        forget_typed()?;
        match signed {
            Ok(signature) => {
                self.send(Job::Approve { pending_id, sha256, session, signature: Some(signature) });
                Ok(())
            }
            Err(why) => self.step(terminal, Event::Decided(pending_id, Err(why))),
        }
    }
}

/// Drops what was typed so far, in the terminal and in what was read of it.
fn forget_typed() -> Result<(), Failure> {
    tcflush(std::io::stdin(), QueueSelector::IFlush).map_err(|e| ended(&e.into()))?;
    while typed()?.is_some() {}
    Ok(())
}

/// What was typed, if anything. A terminal that is gone is not read: crossterm reads its end for ever.
fn typed() -> Result<Option<Typed>, Failure> {
    let stdin = std::io::stdin();
    let mut terminal = [PollFd::new(&stdin, PollFlags::IN)];
    poll(&mut terminal, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_err(|e| ended(&e.into()))?;
    if terminal[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        let why = "the terminal is gone; what waits still waits";
        return Err(Failure::NotApproved(why.to_owned()));
    }
    if !event::poll(Duration::ZERO).map_err(|e| ended(&e))? {
        return Ok(None);
    }
    event::read().map(Some).map_err(|e| ended(&e))
}

/// The names of this system's users.
fn users() -> BTreeMap<u32, String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let lines = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        Some((uid.parse().ok()?, name.to_owned()))
    });
    lines.collect()
}
