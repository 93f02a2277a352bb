//! What a person or a script reads: the only place of the program that prints.

use std::io::{self, Write as _};

/// Whether a stream is a terminal that wants colours.
pub(crate) fn colours(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Columns that output is wrapped to: what fits a small terminal.
const WIDTH: usize = 96;

/// Where output goes and how it looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    json: bool,
    colour: bool,
}

impl Ui {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, colour: !json && colours(&io::stdout()) }
    }

    /// Whether one JSON object a line is wanted.
    pub(crate) const fn json(self) -> bool {
        self.json
    }

    /// One line of output. A closed pipe is no error of ours.
    #[expect(clippy::unused_self, reason = "printing needs the value, so that it is not ambient")]
    pub(crate) fn line(self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }

    /// Text wrapped by words under an indentation.
    pub(crate) fn paragraph(self, indent: &str, text: &str, paint: fn(Self, &str) -> String) {
        let (mut row, mut indent) = (String::new(), indent.to_owned());
        for word in text.split(' ') {
            let length = |text: &str| text.chars().count();
            if !row.is_empty() && length(&indent) + length(&row) + length(word) >= WIDTH {
                self.line(&format!("{indent}{}", paint(self, &row)));
                indent = " ".repeat(length(&indent));
                row.clear();
            }
            if !row.is_empty() {
                row.push(' ');
            }
            row.push_str(word);
        }
        self.line(&format!("{indent}{}", paint(self, &row)));
    }

    /// As it is.
    #[expect(clippy::unused_self, reason = "stands beside the other paints")]
    pub(crate) fn plain(self, text: &str) -> String {
        text.to_owned()
    }

    /// Progress for a person: shown while work is going on, gone with the next line.
    pub(crate) fn progress(self, text: &str) {
        if self.colour {
            let mut out = io::stdout().lock();
            // One row at most: what has wrapped cannot be taken back.
            let short: String = text.chars().take(60).collect();
            let _ = write!(out, "\r\x1b[2K\x1b[2m… {short}\x1b[0m");
            let _ = out.flush();
        }
    }

    /// Ends a progress line.
    pub(crate) fn clear(self) {
        if self.colour {
            let mut out = io::stdout().lock();
            let _ = write!(out, "\r\x1b[2K");
            let _ = out.flush();
        }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Ui {
    /// Asks a question and reads one line; `None` where nobody can answer.
    #[expect(clippy::unused_self, reason = "asking needs the value, so that it is not ambient")]
    pub(crate) fn ask(self, question: &str) -> Option<String> {
        use io::{BufRead as _, IsTerminal as _};
        if !io::stdin().is_terminal() {
            return None;
        }
        let mut err = io::stderr().lock();
        let _ = write!(err, "{question} ");
        let _ = err.flush();
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).ok()?;
        Some(line.trim().to_owned())
    }
}

/// A number with its noun.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Something for whoever sits at the machine, on standard error.
pub(crate) fn notice(text: &str) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "ward: {text}");
}

/// An error on standard error: what went wrong, its causes, and the way out if we know one.
pub(crate) fn error(text: &str) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "ward: {text}");
}
