//! What a diff says, done.

/// Applies a unified diff to a text the way patch(1) does, by its line numbers.
///
/// # Panics
///
/// Where it is no unified diff, or not one of this text: a test has then found what it looks for.
pub fn patched(old: &str, diff: &str) -> String {
    let (old_lines, mut out, mut at) = (old.split_inclusive('\n').collect::<Vec<_>>(), String::new(), 0);
    let mut last_sign = " ";
    for line in diff.split_inclusive('\n').skip(2) {
        if line.starts_with('\\') {
            if last_sign != "-" {
                out.pop();
            }
        } else if let Some(header) = line.strip_prefix("@@ -") {
            let range = header.split(' ').next().expect("a range");
            let (start, len) = range.split_once(',').unwrap_or((range, "1"));
            let start: usize = start.parse().expect("a line number");
            let start = if len == "0" { start } else { start - 1 };
            old_lines[at..start].iter().for_each(|line| out.push_str(line));
            at = start;
        } else {
            let (sign, text) = line.split_at(1);
            last_sign = sign;
            if sign != "+" {
                assert_eq!(old_lines[at].trim_end_matches('\n'), text.trim_end_matches('\n'));
                at += 1;
            }
            if sign != "-" {
                out.push_str(text);
            }
        }
    }
    old_lines[at..].iter().for_each(|line| out.push_str(line));
    out
}
