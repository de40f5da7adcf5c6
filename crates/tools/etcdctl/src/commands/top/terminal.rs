//! A terminal that is ours for a while: a second screen, no cursor, one key that ends it.

use std::fmt::Write;
use std::io::{self, IsTerminal, Read, stdin, stdout};

use rustix::termios::{
    LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc;

use super::screen::{Screen, Tone};
use crate::output::print;

/// Given back when it goes.
pub struct Terminal {
    /// How the keyboard was, if it is one.
    before: Option<Termios>,
}

impl Terminal {
    /// Takes the terminal; `None` if stdout is none.
    pub fn take() -> Option<Terminal> {
        if !stdout().is_terminal() {
            return None;
        }
        print(b"\x1b[?1049h\x1b[?25l");
        Some(Terminal { before: single_keys().ok() })
    }

    /// Is sent something when `q` is pressed.
    pub fn quit_key(&self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(1);
        if self.before.is_some() {
            std::thread::spawn(move || {
                let quit = |byte: io::Result<u8>| matches!(byte, Ok(b'q' | b'Q'));
                if stdin().lock().bytes().any(quit) {
                    // Nobody waits any more if it has ended otherwise.
                    let _ = sender.blocking_send(());
                }
            });
        }
        receiver
    }

    /// Draws over what was there.
    pub fn show(&self, screen: &Screen) {
        // Some terminals do not know how large they are.
        let known = |size: &Winsize| size.ws_col > 0 && size.ws_row > 0;
        let size = tcgetwinsize(stdout()).ok().filter(known);
        let (width, height) =
            size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()));
        let mut out = String::from("\x1b[H");
        // The last line stays free, or the screen would roll.
        for (tone, line) in screen.lines.iter().take(usize::saturating_sub(height, 1)) {
            let line: String = line.chars().take(width).collect();
            let (begin, end) = match tone {
                Tone::Plain => ("", ""),
                Tone::Bold => ("\x1b[1m", "\x1b[0m"),
                Tone::Alarm => ("\x1b[31m", "\x1b[0m"),
            };
            let _ = write!(out, "{begin}{line}{end}\x1b[K\r\n");
        }
        out.push_str("\x1b[J");
        print(out.as_bytes());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // It was possible to change, so it is possible to change back.
            let _ = tcsetattr(stdin(), OptionalActions::Flush, before);
        }
        print(b"\x1b[?25h\x1b[?1049l");
    }
}

/// Keys come one by one and are not shown; gives how it was.
fn single_keys() -> io::Result<Termios> {
    let before = tcgetattr(stdin())?;
    let mut single = before.clone();
    single.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON);
    tcsetattr(stdin(), OptionalActions::Flush, &single)?;
    Ok(before)
}
