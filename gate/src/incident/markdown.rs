//! The document as Markdown, for a ticket or a wiki.

use std::fmt::Write as _;

use super::Story;

/// Writing to a string cannot fail, so what `write!` returns is dropped throughout.
pub(super) fn write(story: &Story) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# {}\n\n**{}**\n", escaped(&story.title), escaped(&story.verdict));
    for (name, value) in &story.facts {
        let _ = writeln!(text, "- {name}: {}", escaped(value));
    }
    let _ = writeln!(text, "\n## What was lost\n\n{}", escaped(&story.lost));
    if !story.actions.is_empty() {
        text.push_str(
            "\n## What was done\n\n| step | after the decision | took | how it is known |\n|---|---|---|---|\n",
        );
        for action in &story.actions {
            let _ =
                writeln!(text, "| {} | {} | {} | {} |", action.what, action.after, action.took, escaped(&action.text));
        }
    }
    text.push_str("\n## Timeline\n\n| time | since the switch | what | story |\n|---|---|---|---|\n");
    for row in &story.timeline {
        let _ = writeln!(text, "| {} | {} | {} | {} |", row.time, row.after, escaped(&row.what), escaped(&row.text));
    }
    if !story.rules.is_empty() {
        let _ = writeln!(
            text,
            "\n## Evidence\n\n| rule | list | state | {} | {} | limit | evidence |\n|---|---|---|---|---|---|---|",
            story.candidate, story.baseline
        );
        for rule in &story.rules {
            let cells =
                [&rule.words, &rule.list, &rule.state, &rule.candidate, &rule.baseline, &rule.limit, &rule.evidence];
            let cells: Vec<_> = cells.into_iter().map(|cell| escaped(cell)).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    if !story.traces.is_empty() {
        text.push_str("\n## Example traces\n\n| trace | side | ended | took | route | pod | time |\n|---|---|---|---|---|---|---|\n");
        for trace in &story.traces {
            let id = escaped(&trace.id);
            // In angle brackets a link ends nowhere but at a bracket, and the template has none.
            let link = trace
                .url
                .as_ref()
                .filter(|url| !url.contains(['<', '>', '|', '\\']) && !url.contains(char::is_control));
            let id = link.map_or_else(|| id.clone(), |url| format!("[{id}](<{url}>)"));
            let cells = [&trace.ended, &trace.took, &trace.route, &trace.pod, &trace.time].map(|cell| escaped(cell));
            let _ = writeln!(text, "| {id} | {} | {} |", trace.side, cells.join(" | "));
        }
    }
    text.push_str("\n## What to look at\n\n");
    for hint in &story.look_at {
        let _ = writeln!(text, "- {}", escaped(hint));
    }
    text.push_str("\n## Rollback checklist\n\n");
    for check in &story.checklist {
        let _ = writeln!(text, "- [{}] {}", if check.done { 'x' } else { ' ' }, escaped(&check.text));
        if let Some(command) = &check.command {
            let _ = writeln!(text, "\n      {command}\n");
        }
    }
    text
}

/// Text that stands for itself: no mark-up, no HTML, no end of a line or of a cell.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, letter| {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stands_for_itself() {
        let nasty = "<img src=x>|**b** [a](http://x)\n# head `code` ![x](y)";
        let text = escaped(nasty);
        assert_eq!(text, "&lt;img src=x&gt;\\|\\*\\*b\\*\\* \\[a\\](http://x) \\# head \\`code\\` \\!\\[x\\](y)");
    }
}
