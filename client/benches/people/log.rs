//! A log as a host writes it, as long as it is wanted.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage};
use llm_os_core::audit::{
    Body, Chain, Decided, Entry, Event, Evidence, Outcome, Signer, What, Who, segment_name,
};
use llm_os_core::effect::{Effect, Fact, Identity, Resource, Verb};
use llm_os_core::name::Id;
use llm_os_core::policy::{Decision, Reason};
use llm_os_core::reach::Profile;
use llm_os_core::value::hex;
use serde_json::json;
use sha2::{Digest, Sha256};

/// As a host closes them.
const SEGMENT: u64 = 64 << 20;
const CHECKPOINT: u64 = 1_024;
const TIME: &str = "2026-11-23T05:54:01.123456Z";

/// A log on disk, with its key beside it.
pub(crate) struct Log {
    place: PathBuf,
    chain: Chain,
    signer: Signer,
    bytes: u64,
    actions: usize,
    segment: u32,
}

impl Log {
    /// Writes actions for as long as `more` says so.
    pub(crate) fn write(place: &Path, more: impl Fn(&Self) -> bool) -> Self {
        fs::create_dir_all(place.join("audit")).unwrap();
        let signer = Signer::from_seed(&[7; 32]);
        fs::write(place.join("audit.pub"), format!("{}\n", signer.public())).unwrap();
        let mut log = Self {
            place: place.to_owned(),
            chain: Chain::default(),
            signer,
            bytes: 0,
            actions: 0,
            segment: 0,
        };
        let mut file = log.next_segment();
        let (mut buffer, mut written) = (Vec::new(), 0);
        while more(&log) {
            log.action(&mut buffer);
            written += buffer.len() as u64;
            log.bytes += buffer.len() as u64;
            file.write_all(&buffer).unwrap();
            buffer.clear();
            if written >= SEGMENT {
                file.flush().unwrap();
                (file, written) = (log.next_segment(), 0);
            }
        }
        log.chain.checkpoint(&log.signer, TIME, &mut buffer);
        file.write_all(&buffer).and_then(|()| file.flush()).unwrap();
        log
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.place.join("audit")
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn records(&self) -> u64 {
        self.chain.seq()
    }

    pub(crate) fn actions(&self) -> usize {
        self.actions
    }

    /// The request whose records stand at about this place.
    pub(crate) fn request(&self, seq: u64) -> String {
        format!("r-{}", seq / 2)
    }

    fn next_segment(&mut self) -> BufWriter<File> {
        self.segment += 1;
        BufWriter::with_capacity(1 << 20, File::create(self.dir().join(segment_name(self.segment))).unwrap())
    }

    /// An intent and its outcome. Every fiftieth is a click on a picture.
    fn action(&mut self, out: &mut Vec<u8>) {
        let (number, run) = (self.actions, format!("0104f0dbfefb-{}", self.actions));
        let request_id = Id::new(&format!("r-{number}"));
        let path = format!("/home/ann/src/module-{}/file-{number}.rs", number % 97);
        let effect = Effect::new(Verb::Observe, Resource::path(path.as_bytes()), Identity::of_id());
        let effect = effect.fact("exists", Fact::Bool(true)).fact("links", Fact::Long(1));
        let params = serde_json::value::to_raw_value(&json!({"path": path})).unwrap();
        let what = What {
            action: "fs.read".to_owned(),
            index: 0,
            params: Some(params),
            danger: false,
            effects: vec![effect],
        };
        let decision = Decided {
            decision: Decision::Allow,
            policies: vec![Reason {
                policy: "observe-below-roots".to_owned(),
                reason: Some("reading is harmless".to_owned()),
                clear: false,
            }],
            profile: Profile::default(),
            policy_sha256: "2e57b615a186765b9d199dbcb1143e85225132dfd55002114fa6dfd14c951c3e".to_owned(),
            approved: None,
        };
        let picture = (number % 50 == 49).then_some(number / 50);
        let evidence = picture.into_iter().map(|n| evidence(&picture_bytes(n)));
        let intent = Entry {
            request_id: request_id.clone(),
            session_id: Id::new("s-1"),
            run: Some(run.clone()),
            who: Some(Who { uid: 1000, gid: 1000, pid: 4711, exe: Some("/usr/bin/llmsh".to_owned()) }),
            why: Some("see what the module does before it is changed".to_owned()),
            what: Some(what),
            decision: Some(decision),
            evidence: if self.keeps() { evidence.collect() } else { Vec::new() },
            ..Entry::new(Event::Intent)
        };
        let outcome = Outcome {
            duration_us: Some(213),
            output_bytes: Some(4_313),
            output_hmac_sha256: Some(
                "f0c1e7ce9cacb6db09b8b9e10c9f6f304985caf20b4ad82142bcd060495df161".to_owned(),
            ),
            ..Outcome::new("ok")
        };
        let outcome = Entry {
            request_id,
            session_id: Id::new("s-1"),
            run: Some(run),
            outcome: Some(outcome),
            data: Some(json!({"index": 0})),
            ..Entry::new(Event::Outcome)
        };
        for entry in [intent, outcome] {
            self.chain.append(&Body::of(&entry), TIME, out);
            if self.chain.seq().is_multiple_of(CHECKPOINT) {
                self.chain.checkpoint(&self.signer, TIME, out);
            }
        }
        self.actions += 1;
    }

    /// Whether pictures belong to it: to the log of a session, not to the long one.
    fn keeps(&self) -> bool {
        self.place.ends_with("session")
    }

    /// Keeps the pictures that its records name.
    pub(crate) fn keep_pictures(&self, count: usize) {
        for number in 0..count {
            let bytes = picture_bytes(number);
            let sha256 = evidence(&bytes).sha256;
            let folder = self.place.join("evidence").join(&sha256[..2]);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(sha256), bytes).unwrap();
        }
    }
}

fn evidence(bytes: &[u8]) -> Evidence {
    Evidence {
        name: "picture".to_owned(),
        media_type: "image/png".to_owned(),
        bytes: bytes.len() as u64,
        sha256: hex(&Sha256::digest(bytes)),
        point: Some([400, 300]),
    }
}

/// A screen with windows and lines of something like text, each another one.
fn picture_bytes(number: usize) -> Vec<u8> {
    let seed = u32::try_from(number).unwrap();
    let noise = |x: u32, y: u32| {
        (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ seed.wrapping_mul(0x9e37_79b9)) >> 13
    };
    let picture = RgbImage::from_fn(1920, 1080, |x, y| {
        let in_window = (x / 480 + y / 270 + seed) % 3 != 0;
        let is_ink = in_window && y % 18 < 10 && noise(x / 2, y / 2) % 5 == 0 && x % 480 > 30;
        match (in_window, is_ink) {
            (_, true) => Rgb([30, 30, 40]),
            (true, false) => Rgb([250, 250, 245]),
            (false, false) => Rgb([40, 80, 120]),
        }
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}
