//! `llmsh audit report`: a log as one page that needs nothing else, has no script and asks nobody for anything.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use llm_os_core::audit::PublicKey;
use sha2::{Digest, Sha256};

use crate::audit::approvals::Approvals;
use crate::audit::filter::{Filter, FilterArgs};
use crate::audit::segments::list;
use crate::audit::verify::key;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;

mod collect;
mod html;
mod pictures;
mod plan;
mod store;
mod top;

use collect::{Collected, Item, collect};
use html::Html;
use pictures::Pictures;
use store::Store;

const STYLE: &str = include_str!("report/page.css");

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The directory of the log; by default llm-osd/audit in the XDG state directory.
    pub(super) dir: Option<PathBuf>,
    /// The page to write, over what is there; - for stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Of this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Of this request.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Not before this time: RFC 3339 in UTC (2026-11-23T05:00:00Z), or so long ago (90s, 2h, 1day).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The directory of the evidence; by default ../evidence beside the log's directory.
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// The host's public key (audit.pub).
    #[arg(long, value_name = "FILE")]
    pubkey: Option<PathBuf>,
    /// The approvers' keys, as confirmation.approvers of the host names them: an approval that none of them signed is marked.
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// The page's title.
    #[arg(long, default_value = "llm-os audit report")]
    title: String,
}

/// Writes the page.
///
/// # Errors
///
/// A log that cannot be read, a filter that says nothing, a page that cannot be written.
pub(super) fn report(dir: &Path, args: ReportArgs) -> Result<Exit, Failure> {
    let output = args.output.ok_or_else(|| {
        Failure::Usage("name the page to write: llmsh audit report -o report.html".to_owned())
    })?;
    let filter = FilterArgs {
        request: args.request,
        session: args.session,
        since: args.since,
        until: args.until,
        ..FilterArgs::default()
    };
    let filter = Filter::new(&filter, SystemTime::now())?;
    let segments = list(dir)?;
    let key = key(dir, args.pubkey)?;
    let approvals = Approvals::new(args.signers.as_deref(), key)?;
    let store = Store(args.evidence.unwrap_or_else(|| dir.join("../evidence")));
    let mut target = Target::open(&output)?;
    let length = segments.iter().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum();
    let mut progress = Progress::new("reading", length, false);
    let collected = collect(&segments, key, approvals, filter, &mut progress)?;
    drop(progress);
    write(&collected, key, &args.title, &store, &mut |html| {
        target.file.write_all(html.as_str().as_bytes()).map_err(|source| unwritten(&output, source))
    })?;
    target.finish()?;
    Ok(if collected.problems.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn write(
    page: &Collected,
    key: Option<PublicKey>,
    title: &str,
    store: &Store,
    out: &mut dyn FnMut(&Html) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src 'sha256-");
    html.text(&STANDARD.encode(Sha256::digest(STYLE)));
    html.raw("'\"><meta name=viewport content=\"width=device-width,initial-scale=1\"><meta name=referrer content=no-referrer><title>");
    // A title holds no marks: what would need one is left out.
    let plain: String = title.chars().filter(|c| !crate::screen::is_hidden(*c)).collect();
    html.text(&plain)
        .raw("</title><style>")
        .raw(STYLE)
        .raw("</style></head><body><header><h1>")
        .text(title)
        .raw("</h1>");
    top::verdict(&mut html, page, key);
    top::totals(&mut html, page);
    html.raw("</header><fieldset class=filters><legend>Show only</legend>");
    html.raw("<label><input type=checkbox class=f id=f-refused> refused</label><label><input type=checkbox class=f id=f-confirmed> confirmed</label>");
    html.raw("<label><input type=checkbox class=f id=f-failed> failed</label><label><input type=checkbox class=f id=f-allowed> ran</label>");
    html.raw("<label><input type=checkbox class=f id=f-picture> with pictures</label><label><input type=checkbox class=f id=f-event> host</label></fieldset><main>\n");
    out(&html)?;
    let mut pictures = Pictures::default();
    for item in &page.items {
        out(&match item {
            Item::Plan(records) => plan::plan(records, store, &mut pictures),
            Item::Event(record) => plan::event(record),
            Item::Malformed { place, text } => {
                let mut html = Html::default();
                html.raw("<article class=\"item broken\"><p class=bad>Not a record: ").text(place);
                html.raw("</p><pre>").text(text).raw("</pre></article>\n");
                html
            }
            Item::Break(why) => {
                let mut html = Html::default();
                html.raw("<p class=break>").text(why).raw("</p>\n");
                html
            }
        })?;
    }
    out(Html::default().raw("</main><svg class=defs aria-hidden=true><defs>\n"))?;
    pictures.finish(store, &mut *out)?;
    out(Html::default().raw("</defs></svg></body></html>\n"))
}

/// Where the page goes: a file beside its place until it is complete.
struct Target {
    file: BufWriter<Box<dyn Write>>,
    /// The temporary name and the last one.
    names: Option<(PathBuf, PathBuf)>,
}

impl Target {
    fn open(output: &Path) -> Result<Self, Failure> {
        if output == Path::new("-") {
            return Ok(Self { file: BufWriter::new(Box::new(std::io::stdout())), names: None });
        }
        let Some(name) = output.file_name().filter(|_| !output.is_dir()) else {
            let message = format!("{} is a directory; name a file: -o report.html", output.display());
            return Err(Failure::Usage(message));
        };
        let part = output.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        // The page tells what the log tells, and is as private.
        let file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)
            .map_err(|source| unwritten(&part, source))?;
        let names = Some((part, output.to_owned()));
        Ok(Self { file: BufWriter::with_capacity(1 << 20, Box::new(file)), names })
    }

    fn finish(mut self) -> Result<(), Failure> {
        let at = self.names.as_ref().map_or_else(|| PathBuf::from("stdout"), |(_, last)| last.clone());
        self.file.flush().map_err(|source| unwritten(&at, source))?;
        if let Some((part, last)) = &self.names {
            std::fs::rename(part, last).map_err(|source| unwritten(last, source))?;
            self.names = None;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.names {
            // What is left of a page that was not finished is of no use; that it stays harms nothing.
            let _ = std::fs::remove_file(part);
        }
    }
}

fn unwritten(path: &Path, source: std::io::Error) -> Failure {
    if path == Path::new("-") || path == Path::new("stdout") {
        return Failure::Stdout(source);
    }
    Failure::Usage(format!("cannot write {}: {source}; name another file with -o", path.display()))
}
