//! The host's desktop as a model sees it: what runs as plans, in the pixels of the last picture.

use std::time::{Duration, Instant};

use llm_os_core::{Code, Secret};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::computer::act::{Act, Point, Step, settle};
use crate::computer::limits::Limits;
use crate::computer::parts::{Picture, parts};
use crate::connection::Host;
use crate::envelope;
use crate::exit::{Exit, Failure};
use crate::screen::plain;
use crate::send::{Decision, Held};
use crate::tools;

/// How long nothing must have been drawn for the screen to count as settled.
const QUIET_MS: u64 = 100;

/// How many pictures are taken for one screenshot, where the screen has another size each time.
const MOST_PICTURES: usize = 3;

/// How many held plans are remembered; a host holds not more for one user.
const MOST_HELD: usize = 16;

/// Why something was not done, or not to its end.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The model is told.
    Told(String),
    /// There is nobody to tell, or nothing to tell it with.
    Ends(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ReaderGone | Failure::Stdout(_) => Trouble::Ends(failure),
            Failure::Usage(_)
            | Failure::NoHost { .. }
            | Failure::NoAnswer(_)
            | Failure::Refused { .. }
            | Failure::NotApproved(_)
            | Failure::Save { .. } => Trouble::Told(failure.to_string()),
        }
    }
}

/// What came of an act.
#[derive(Debug)]
pub(crate) enum Done {
    Text(String),
    Picture(Picture),
}

/// How things are done.
pub(crate) struct Options {
    /// The session of every plan.
    pub(crate) session: String,
    /// How long a human has for a decision before the model is told.
    pub(crate) hold: Duration,
    /// How long a picture waits at most for the screen to settle.
    pub(crate) settle_ms: u64,
    /// The longest edge of a picture.
    pub(crate) max_edge: Option<u32>,
}

pub(crate) struct Desk<'a> {
    host: &'a Host,
    options: Options,
    plans: u64,
    /// Plans that nobody decided about yet, by their actions: the same ones again wait on.
    held: Vec<(String, Held)>,
    /// The last picture, in whose pixels the model speaks.
    space: Option<Space>,
}

/// A picture's size and the part of the screen that it shows; `space` of the host's actions.
#[derive(Clone, Debug, Deserialize)]
struct Space {
    width: u32,
    height: u32,
    region: Region,
    /// The same as it came.
    #[serde(skip)]
    given: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Region {
    x: i64,
    y: i64,
    width: u32,
    height: u32,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(host: &'a Host, options: Options) -> Self {
        Self { host, options, plans: 0, held: Vec::new(), space: None }
    }

    /// Does one thing that the dialect calls `name`.
    pub(crate) fn act(&mut self, name: &str, act: &Act, limits: Limits) -> Result<Done, Trouble> {
        let reason = format!("computer: {name}{}", act.told());
        match act {
            Act::Screenshot => self.picture(limits, &reason).map(Done::Picture),
            Act::Zoom(edges) => self.zoom(name, *edges, limits, &reason).map(Done::Picture),
            Act::Position => {
                let at = self.pointer(&reason)?;
                let [x, y] = self.space(limits, &reason)?.shown(at);
                Ok(Done::Text(format!("X={x},Y={y}")))
            }
            Act::Drag { path, held } if path.len() == 1 => self.drag_on(name, path[0], held, limits, &reason),
            Act::Click { .. }
            | Act::Drag { .. }
            | Act::Move { .. }
            | Act::ButtonDown
            | Act::ButtonUp
            | Act::Scroll { .. }
            | Act::Type(_)
            | Act::Press { .. }
            | Act::Hold { .. }
            | Act::Wait { .. } => {
                let space = match act.points() {
                    [] => Value::Null,
                    points => self.space(limits, &reason)?.holding(name, points)?,
                };
                self.perform(&act.steps(&space), &reason)
            }
        }
    }

    /// Calls an action of the host by the name that it has as a tool. The answer may be that of an action that failed.
    pub(crate) fn call(&mut self, tool_name: &str, arguments: envelope::Fields) -> Result<Answer, Trouble> {
        // A capability's name has no underscore, so the first one is the dot.
        let action = tools::action(&tool_name.replacen('_', ".", 1), arguments);
        self.send(&[action])
    }

    /// The size that pictures have now.
    pub(crate) fn size(&mut self, limits: Limits) -> Result<(u32, u32), Trouble> {
        let space = self.look(limits, "computer: how large the screen is")?;
        Ok((space.width, space.height))
    }

    /// A picture of the whole screen within the limits, once the screen has settled.
    fn picture(&mut self, limits: Limits, reason: &str) -> Result<Picture, Trouble> {
        let mut region = match &self.space {
            Some(space) => space.region,
            None => self.look(limits, reason)?.region,
        };
        for _ in 0..MOST_PICTURES {
            let (width, height) = self.fit(limits, region);
            let size = match (width, height) == (region.width, region.height) {
                true => json!({}),
                false => json!({"width": width, "height": height}),
            };
            let output = self.capture("monitor.capture", size, limits, reason)?;
            let given: Value = read(&output)?;
            let mut space: Space = read(&given["space"].to_string())?;
            space.given = given["space"].clone();
            let is_as_expected = space.region == region;
            region = space.region;
            self.space = Some(space);
            if is_as_expected {
                return picture(&output);
            }
            // The screen has another size than it had, so the picture has the wrong one.
        }
        Err(Trouble::Told("the screen changes its size again and again; take a screenshot later".to_owned()))
    }

    /// The answer with a picture, once the screen has settled where it is the whole of it. One that is too long for the API
    /// as a PNG is taken as a JPEG.
    fn capture(
        &mut self,
        action: &'static str,
        mut params: Value,
        limits: Limits,
        reason: &str,
    ) -> Result<String, Trouble> {
        let most = self.options.settle_ms;
        let captured = Step::new(action, params.clone());
        let steps = match most {
            0 => vec![captured.clone()],
            most => vec![settle(QUIET_MS.min(most), most), captured.clone()],
        };
        let output = match self.output(&steps, reason) {
            // Some displays do not tell when something is drawn.
            Err(Trouble::Told(words)) if most > 0 && words.starts_with(Code::UNAVAILABLE.as_str()) => {
                self.options.settle_ms = 0;
                self.output(&[captured], reason)?
            }
            output => output?,
        };
        if picture(&output)?.data.len() <= limits.length() {
            return Ok(output);
        }
        if let Some(area) = params.as_object_mut().and_then(|params| params.remove("region")) {
            params["target"] = json!({"region": area});
        }
        params["format"] = json!("jpeg");
        self.output(&[Step::new("monitor.capture", params)], reason)
    }

    /// A part of the last picture, as sharp as the screen is.
    fn zoom(
        &mut self,
        name: &str,
        edges: [i64; 4],
        limits: Limits,
        reason: &str,
    ) -> Result<Picture, Trouble> {
        let space = self.space(limits, reason)?;
        let [left, upper, right, lower] = edges;
        let is_inside = (0..right).contains(&left)
            && (0..lower).contains(&upper)
            && right <= i64::from(space.width)
            && lower <= i64::from(space.height);
        if !is_inside {
            return Err(Trouble::Told(format!(
                "{name}: region is [{left}, {upper}, {right}, {lower}], expected [x0, y0, x1, y1] with x0 < x1 <= {} and \
                 y0 < y1 <= {}",
                space.width, space.height
            )));
        }
        let (width, height) = (right - left, lower - upper);
        let sharp = |extent: i64, of: u32, shows: u32| {
            let pixels = u64::try_from(extent).unwrap_or(0) * u64::from(of);
            u32::try_from(pixels.div_ceil(shows.into())).unwrap_or(u32::MAX)
        };
        let full =
            (sharp(width, space.region.width, space.width), sharp(height, space.region.height, space.height));
        let fitting = self.fit(limits, Region { width: full.0, height: full.1, ..space.region });
        let mut params = json!({
            "region": {"x": left, "y": upper, "width": width, "height": height}, "space": space.given,
        });
        if fitting != full {
            params["max_edge"] = json!(fitting.0.max(fitting.1));
        }
        picture(&self.capture("monitor.zoom", params, limits, reason)?)
    }

    /// Drags from where the pointer is, whose pixel need not be the middle of one of the picture.
    fn drag_on(
        &mut self,
        name: &str,
        to: Point,
        held: &[String],
        limits: Limits,
        reason: &str,
    ) -> Result<Done, Trouble> {
        let space = self.space(limits, reason)?;
        space.holding(name, &[to])?;
        let mut params = json!({"path": [self.pointer(reason)?, space.on_screen(to)]});
        if !held.is_empty() {
            params["modifiers"] = json!(held);
        }
        self.perform(&[Step::new("mouse.drag", params)], reason)
    }

    /// Where the pointer is on the screen.
    fn pointer(&mut self, reason: &str) -> Result<Point, Trouble> {
        let output: Value = read(&self.output(&Act::Position.steps(&Value::Null), reason)?)?;
        match (output["x"].as_i64(), output["y"].as_i64()) {
            (Some(x), Some(y)) => Ok([x, y]),
            (_, None) | (None, _) => Err(unlike(&"it says no position")),
        }
    }

    fn perform(&mut self, steps: &[Step], reason: &str) -> Result<Done, Trouble> {
        let done = self.output(steps, reason);
        if let ([Step { action: "keyboard.down", params }, ..], Err(Trouble::Told(_))) = (steps, &done) {
            // The keys may be down, and the step that releases them did not run. Where they are not, there is nothing to do.
            let release = Step::new("keyboard.up", params.clone());
            self.send(&[release.write(reason)])?;
        }
        let output: Value = read(&done?)?;
        let elsewhere = &output["elsewhere"];
        if elsewhere.is_null() {
            return Ok(Done::Text("OK".to_owned()));
        }
        Ok(Done::Text("OK, but something else moved the pointer meanwhile; look where it is".to_owned()))
    }

    /// The last picture, or the one that would be taken now: a model may have seen one from an earlier run of this program.
    fn space(&mut self, limits: Limits, reason: &str) -> Result<Space, Trouble> {
        if let Some(space) = &self.space {
            return Ok(space.clone());
        }
        let space = self.look(limits, reason)?;
        self.space = Some(space.clone());
        Ok(space)
    }

    /// How a picture of the whole screen would be.
    fn look(&mut self, limits: Limits, reason: &str) -> Result<Space, Trouble> {
        let output: Value = read(&self.output(&[Step::new("monitor.list", json!({}))], reason)?)?;
        let region: Region = read(&output["bounds"].to_string())?;
        let (width, height) = self.fit(limits, region);
        let given = json!({"width": width, "height": height, "region": output["bounds"]});
        Ok(Space { width, height, region, given })
    }

    /// The size of a picture of a part of the screen.
    fn fit(&self, limits: Limits, region: Region) -> (u32, u32) {
        limits.within(self.options.max_edge).fit(region.width, region.height)
    }

    /// The output of the last of these steps.
    fn output(&mut self, steps: &[Step], reason: &str) -> Result<String, Trouble> {
        let actions: Vec<_> = steps.iter().map(|step| step.write(reason)).collect();
        let answer = self.send(&actions)?;
        if let Some(words) = answer.words() {
            return Err(Trouble::Told(words));
        }
        let output = answer.results.into_iter().next_back().and_then(|result| result.output);
        output.map(|output| output.get().to_owned()).ok_or_else(|| unlike(&"it has no output"))
    }

    /// Sends a plan, and waits for a human where one must confirm it. What comes back is never held.
    fn send(&mut self, actions: &[String]) -> Result<Answer, Trouble> {
        self.plans += 1;
        let request = format!("{}-{}", self.options.session, self.plans);
        let frame = tools::plan(&request, Some(&self.options.session), actions);
        let key = actions.join(",");
        let held = match self.held.iter().position(|(held, _)| *held == key) {
            Some(index) => self.held.remove(index).1,
            None => {
                let answer = self.exchange(frame.as_bytes())?;
                match Held::of(&answer) {
                    Some(held) if answer.exit() == Exit::ConfirmationNeeded => held,
                    Some(_) | None => return Ok(answer),
                }
            }
        };
        match self.decision(&held)? {
            Decision::Approved { token } => {
                let frame = envelope::confirmed(frame.as_bytes(), &Secret::new(token))
                    .map_err(|e| Trouble::Told(format!("the plan cannot be confirmed: {e}")))?;
                self.exchange(&frame)
            }
            Decision::Denied {} => Err(Trouble::Told("a human denied it; nothing of it ran".to_owned())),
            Decision::Expired {} => Err(Trouble::Told(
                "confirmation_required: nobody decided in time, and nothing of it ran; the same action again asks again"
                    .to_owned(),
            )),
            Decision::Pending {} => {
                let words = format!(
                    "confirmation_required: a human must confirm it, and did not within {} s; nothing of it ran. It waits as \
                     {id}: a person who may decides with \"llmsh approve {id}\". The same action again goes on waiting.",
                    self.options.hold.as_secs(),
                    id = plain(&held.pending_id),
                );
                if self.held.len() == MOST_HELD {
                    self.held.remove(0);
                }
                self.held.push((key, held));
                Err(Trouble::Told(words))
            }
        }
    }

    /// Waits for a human as long as one has.
    fn decision(&self, held: &Held) -> Result<Decision, Trouble> {
        let until = Instant::now() + self.options.hold;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            match held.wait(self.host, Some(&self.options.session), wait_ms)? {
                Decision::Pending {} if wait_ms > 0 => {}
                decided => return Ok(decided),
            }
        }
    }

    fn exchange(&self, frame: &[u8]) -> Result<Answer, Trouble> {
        Ok(self.host.read(&self.host.exchange(frame)?)?)
    }
}

impl Space {
    /// The `space` to send, once it is clear that all points are inside of the picture.
    fn holding(&self, name: &str, points: &[Point]) -> Result<Value, Trouble> {
        let (width, height) = (i64::from(self.width), i64::from(self.height));
        let outside = |[x, y]: &&Point| !(0..width).contains(x) || !(0..height).contains(y);
        match points.iter().find(outside) {
            None => Ok(self.given.clone()),
            Some([x, y]) => Err(Trouble::Told(format!(
                "{name}: ({x}, {y}) is outside of the screenshot, which is {width}x{height}: x goes from 0 to {}, y from 0 to \
                 {}; nothing was done",
                width - 1,
                height - 1
            ))),
        }
    }

    /// The pixel of the picture that shows a pixel of the screen.
    fn shown(&self, [x, y]: Point) -> Point {
        let Region { x: left, y: upper, width, height } = self.region;
        let scaled = |at: i64, to: u32, from: u32| at * i64::from(to) / i64::from(from.max(1));
        [scaled(x - left, self.width, width), scaled(y - upper, self.height, height)]
    }

    /// The pixel of the screen under the middle of a pixel of the picture, as the host finds it.
    fn on_screen(&self, [x, y]: Point) -> Point {
        let Region { x: left, y: upper, width, height } = self.region;
        let scaled =
            |at: i64, to: u32, from: u32| (2 * at + 1) * i64::from(to) / (2 * i64::from(from.max(1)));
        [left + scaled(x, width, self.width), upper + scaled(y, height, self.height)]
    }
}

fn picture(output: &str) -> Result<Picture, Trouble> {
    parts(output).1.into_iter().next().ok_or_else(|| unlike(&"it has no picture"))
}

fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Trouble> {
    serde_json::from_str(text).map_err(|e| unlike(&e))
}

fn unlike(why: &dyn std::fmt::Display) -> Trouble {
    Trouble::Told(format!("the host's answer has another shape: {why}"))
}

/// The output of the one result of an answer, if it has one.
pub(crate) fn only_output(answer: &Answer) -> Option<&RawValue> {
    answer.results.first()?.output.as_deref()
}
