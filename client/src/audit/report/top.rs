//! The top of the page: what the log proves, and how much of everything there is.

use llm_os_core::audit::PublicKey;

use crate::audit::report::collect::Collected;
use crate::audit::report::html::Html;
use crate::audit::verify::holds;

/// How many problems are listed.
const MOST: usize = 10;

/// What the log proves, or where it stops to prove anything.
pub(super) fn verdict(html: &mut Html, page: &Collected, key: Option<PublicKey>) {
    if page.problems.is_empty() {
        html.raw("<div class=\"verdict good\">");
        for sentence in page.verified.iter().flat_map(|verified| holds(verified, key.is_some())) {
            html.raw("<p>").text(&sentence).raw("</p>");
        }
    } else {
        html.raw("<div class=\"verdict bad\">");
        for problem in page.problems.iter().take(MOST) {
            html.raw("<p>").text(problem).raw("</p>");
        }
        if let Some(more) = page.problems.len().checked_sub(MOST).filter(|more| *more > 0) {
            html.raw("<p>and ").number(more as u64).raw(" more, each marked at its place</p>");
        }
    }
    for sentence in &page.approvals {
        html.raw("<p>").text(sentence).raw("</p>");
    }
    if let Some(key) = key {
        html.raw("<p class=meta>the host's key: <code>").text(&key.to_string()).raw("</code></p>");
    }
    html.raw("</div>");
    if page.torn > 0 {
        html.raw("<p class=break>The log ends within a line (").number(page.torn);
        html.raw(" bytes): the host is writing it now, or was killed and closes it at its next start.</p>");
    }
}

/// Counts over what the page shows.
pub(super) fn totals(html: &mut Html, page: &Collected) {
    let totals = &page.totals;
    html.raw("<dl class=totals>");
    let counts: [(&'static str, u64); 8] = [
        ("Plans", totals.plans),
        ("Actions that ran", totals.actions),
        ("Allowed by policy", totals.allowed),
        ("Confirmed by a human", totals.confirmed),
        ("Denied or refused", totals.refused),
        ("Failed", totals.failed),
        ("Bytes of outputs", totals.output_bytes),
        ("Bytes of the log", page.bytes),
    ];
    for (label, count) in counts {
        html.raw("<dt>").raw(label).raw("</dt><dd>").number(count).raw("</dd>");
    }
    html.raw("<dt>Approvals</dt><dd>");
    for (at, (uid, count)) in totals.approvers.iter().enumerate() {
        html.raw(if at == 0 { "" } else { ", " }).number(*count).raw(" by user ").number(*uid);
    }
    html.raw(if totals.approvers.is_empty() { "none" } else { "" });
    html.raw("</dd><dt>Time</dt><dd>").text(totals.first.as_deref().unwrap_or("none")).raw(" to ");
    html.text(totals.last.as_deref().unwrap_or("none")).raw("</dd></dl>");
}
