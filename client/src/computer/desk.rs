//! The host's desktop as a model sees it: what runs as plans, in the pixels of the last picture.

use llm_os_core::Code;
use llm_os_core::error::excerpt;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::computer::act::{Act, Point, Step, settle};
use crate::computer::limits::Limits;
use crate::computer::parts::{Picture, parts};
use crate::computer::plans::{Plans, Trouble};
use crate::computer::space::{Region, Space};
use crate::envelope;
use crate::tools;

/// How long nothing must have been drawn for the screen to count as settled.
const QUIET_MS: u64 = 100;

/// How many pictures are taken for one screenshot, where the screen has another size each time.
const MOST_PICTURES: usize = 3;

/// What came of an act.
#[derive(Debug)]
pub(crate) enum Done {
    Text(String),
    Picture(Picture),
}

/// How things are done.
pub(crate) struct Options {
    /// How long a picture waits at most for the screen to settle.
    pub(crate) settle_ms: u64,
    /// The longest edge of a picture.
    pub(crate) max_edge: Option<u32>,
}

pub(crate) struct Desk<'a> {
    plans: Plans<'a>,
    options: Options,
    /// The last picture, in whose pixels the model speaks.
    space: Option<Space>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(plans: Plans<'a>, options: Options) -> Self {
        Self { plans, options, space: None }
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
        // The protocol's own verbs are for the program that speaks with the host, and no tools.
        if tool_name.starts_with("host_") {
            let name = excerpt(tool_name);
            return Err(Trouble::Told(format!("there is no tool \"{name}\"; nothing was done")));
        }
        // A capability's name has no underscore, so the first one is the dot.
        let action = tools::action(&tool_name.replacen('_', ".", 1), arguments);
        self.plans.send(&[action])
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
        let answer = self.send(steps, reason)?;
        if let (Some(words), [Step { action: "keyboard.down", params }, ..]) = (answer.words(), steps)
            && only_output(&answer).is_some()
        {
            // The keys are down, and the step that releases them did not run.
            let release = Step::new("keyboard.up", params.clone());
            return match self.send(&[release], reason) {
                Err(Trouble::Ends(failure)) => Err(Trouble::Ends(failure)),
                Ok(_) | Err(Trouble::Told(_)) => Err(Trouble::Told(words)),
            };
        }
        let output: Value = read(&last_output(answer)?)?;
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
        last_output(self.send(steps, reason)?)
    }

    fn send(&mut self, steps: &[Step], reason: &str) -> Result<Answer, Trouble> {
        let actions: Vec<_> = steps.iter().map(|step| step.write(reason)).collect();
        self.plans.send(&actions)
    }
}

fn picture(output: &str) -> Result<Picture, Trouble> {
    parts(output).1.into_iter().next().ok_or_else(|| unlike(&"it has no picture"))
}

/// The output of the one result of an answer, if it has one.
pub(crate) fn only_output(answer: &Answer) -> Option<&RawValue> {
    answer.results.first()?.output.as_deref()
}

/// The output of the last result, where all went well.
fn last_output(answer: Answer) -> Result<String, Trouble> {
    if let Some(words) = answer.words() {
        return Err(Trouble::Told(words));
    }
    let output = answer.results.into_iter().next_back().and_then(|result| result.output);
    output.map(|output| output.get().to_owned()).ok_or_else(|| unlike(&"it has no output"))
}

fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Trouble> {
    serde_json::from_str(text).map_err(|e| unlike(&e))
}

fn unlike(why: &dyn std::fmt::Display) -> Trouble {
    Trouble::Told(format!("the host's answer has another shape: {why}"))
}
