//! Two servers and one client: what a client may say in HTTP/2, and what it may not, said to ours and to the server of
//! the `h2` crate, and their answers compared.
//!
//! The input is a row of choices, so every input is a conversation that a client may have: requests whose headers are
//! cut into continuations, padding, priorities, windows that open and shut, settings that change, pings, resets,
//! trailers, frames nobody knows. In the end the client may do one thing that it must not. Both servers run the same
//! little program ([`plan::Plan`]); compared is what frames mean: status, fields, body, trailers, resets, the code of
//! GOAWAY. How an answer is cut into frames is each server's own business, as long as it keeps within the windows and
//! tables the client allows, which [`seen::Seen`] looks after.
//!
//! Not here: what needs time, and what is done about floods.
//!
//! Circle: the parts of one target, which speak the words that stand here.

mod client;
mod ours;
mod plan;
mod seen;
mod theirs;
mod words;
mod wrongs;

use self::client::Client;
use self::ours::Ours;
use self::seen::{Answer, Seen};
use self::theirs::Theirs;
use self::wrongs::Wrong;

/// What both servers let the client send before they have read it: HTTP/2's own default.
const WINDOW_BYTES: u32 = 65_535;
/// The longest list of headers that both take.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Streams that both serve at once: more than the client ever opens.
const STREAMS_MAX: u32 = 100;
/// Breaths in which a client says what it says.
const BREATHS_MAX: usize = 60;

/// A row of choices, which an input makes.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `bound`, which is small.
    fn below(&mut self, bound: usize) -> usize {
        let low = usize::from(self.byte());
        let all = if bound > 256 { low << 8 | usize::from(self.byte()) } else { low };
        all % bound
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// One conversation with both.
struct Conversation {
    ours: Ours,
    theirs: Theirs,
    of_ours: Seen,
    of_theirs: Seen,
}

impl Conversation {
    fn new() -> Conversation {
        let (of_ours, of_theirs) = (Seen::new("ours"), Seen::new("h2's"));
        Conversation { ours: Ours::new(), theirs: Theirs::new(), of_ours, of_theirs }
    }

    /// Both hear these bytes, ours in pieces of `piece`, and what they say to that is read.
    fn say(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            self.ours.hear(piece);
        }
        self.theirs.hear(bytes);
        self.of_ours.read(&self.ours.said());
        self.of_theirs.read(&self.theirs.said());
    }
}

pub(crate) fn frames(data: &[u8]) {
    let mut choices = Choices(data);
    let mut talk = Conversation::new();
    let mut client = Client::new();
    let hello = client.greet(&mut [&mut talk.of_ours, &mut talk.of_theirs]);
    talk.say(&hello, 7);
    let wrong = choices.one_in(3).then(|| choices.pick(&Wrong::ALL));
    for _ in 0..BREATHS_MAX {
        if choices.is_over() {
            break;
        }
        let said = client.breath(&mut choices, &mut [&mut talk.of_ours, &mut talk.of_theirs]);
        let piece = choices.pick(&[usize::MAX, 1, 9, 100, 16_384]);
        talk.say(&said, piece);
        both_go_on(&talk);
    }
    loop {
        let said = client.end(&mut [&mut talk.of_ours, &mut talk.of_theirs]);
        if said.is_empty() {
            break;
        }
        talk.say(&said, usize::MAX);
        both_go_on(&talk);
    }
    compare(&client, &talk);
    if let Some(wrong) = wrong {
        let (said, stream) = wrongs::commit(&mut client, wrong);
        talk.say(&said, usize::MAX);
        wrongs::compare(wrong, stream, &talk.of_ours, &talk.of_theirs);
    }
}

fn both_go_on(talk: &Conversation) {
    let ends = (talk.of_ours.farewell, talk.of_theirs.farewell);
    assert_eq!(ends, (None, None), "ours and h2's: nobody did anything wrong");
}

/// All that was asked is answered alike.
fn compare(client: &Client, talk: &Conversation) {
    for seen in [&talk.of_ours, &talk.of_theirs] {
        assert_eq!(seen.pongs, client.pings, "{}: every ping has its answer", seen.whose);
        assert_eq!(seen.acknowledged, client.settings, "{}: all settings, too", seen.whose);
    }
    for id in client.asked() {
        let answer = |seen: &Seen| seen.streams.get(&id).cloned().unwrap_or_default();
        let (ours, theirs) = (answer(&talk.of_ours), answer(&talk.of_theirs));
        if client.gave_up(id) {
            continue;
        }
        assert!(theirs.is_over(), "stream {id} at h2's: {theirs:?}");
        assert!(ours.is_over(), "stream {id}: {ours:?}");
        alike(id, &ours, &theirs);
    }
}

fn alike(id: u32, ours: &Answer, theirs: &Answer) {
    assert_eq!(ours.head, theirs.head, "stream {id}: how it begins");
    assert_eq!(ours.body, theirs.body, "stream {id}: what it says");
    assert_eq!(ours.trailers, theirs.trailers, "stream {id}: how it ends");
    assert_eq!(ours.reset, theirs.reset, "stream {id}: how it breaks");
}
