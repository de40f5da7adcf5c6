//! What a client must not do, and what both servers say to it.

use super::client::Client;
use super::seen::Seen;
use super::words::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
    PADDED, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, settings,
};

/// One thing that RFC 9113 forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    DataWithoutStream,
    DataOnIdle,
    DataBehindTheEnd,
    DataBeyondTheWindow,
    DataBeyondTheLength,
    EndBeforeTheLength,
    MorePaddingThanPayload,
    HeadersOnEvenStream,
    HeadersOnOlderStream,
    TrailersWithoutEnd,
    TrailersWithPath,
    BlockThatCannotBeRead,
    BlockInterrupted,
    ContinuationOfNothing,
    FieldInUpperCase,
    FieldOfTheHop,
    WithoutPath,
    ResetOnIdle,
    ResetCut,
    SettingsOnStream,
    SettingsCut,
    SettingsWithWindowTooLarge,
    SettingsWithFrameTooSmall,
    SettingsWithPush2,
    PingOnStream,
    PingCut,
    WindowOfNothing,
    WindowOfNothingOnStream,
    WindowTooLarge,
    WindowTooLargeOnStream,
    WindowOnIdle,
    WindowCut,
    PriorityCut,
    Push,
    FrameTooLong,
}

impl Wrong {
    pub(crate) const ALL: [Wrong; 35] = [
        Wrong::DataWithoutStream,
        Wrong::DataOnIdle,
        Wrong::DataBehindTheEnd,
        Wrong::DataBeyondTheWindow,
        Wrong::DataBeyondTheLength,
        Wrong::EndBeforeTheLength,
        Wrong::MorePaddingThanPayload,
        Wrong::HeadersOnEvenStream,
        Wrong::HeadersOnOlderStream,
        Wrong::TrailersWithoutEnd,
        Wrong::TrailersWithPath,
        Wrong::BlockThatCannotBeRead,
        Wrong::BlockInterrupted,
        Wrong::ContinuationOfNothing,
        Wrong::FieldInUpperCase,
        Wrong::FieldOfTheHop,
        Wrong::WithoutPath,
        Wrong::ResetOnIdle,
        Wrong::ResetCut,
        Wrong::SettingsOnStream,
        Wrong::SettingsCut,
        Wrong::SettingsWithWindowTooLarge,
        Wrong::SettingsWithFrameTooSmall,
        Wrong::SettingsWithPush2,
        Wrong::PingOnStream,
        Wrong::PingCut,
        Wrong::WindowOfNothing,
        Wrong::WindowOfNothingOnStream,
        Wrong::WindowTooLarge,
        Wrong::WindowTooLargeOnStream,
        Wrong::WindowOnIdle,
        Wrong::WindowCut,
        Wrong::PriorityCut,
        Wrong::Push,
        Wrong::FrameTooLong,
    ];
}

/// The bytes that do this wrong, and the stream it is about; stream 0 is the connection.
pub(crate) fn commit(client: &mut Client, wrong: Wrong) -> (Vec<u8>, u32) {
    let idle = client.next_stream() + 10;
    let alone = |bytes: Vec<u8>| (bytes, 0);
    let window_max = [0x7f, 0xff, 0xff, 0xff];
    match wrong {
        Wrong::DataWithoutStream => alone(frame(DATA, 0, 0, b"x")),
        Wrong::DataOnIdle => alone(frame(DATA, 0, idle, b"x")),
        Wrong::HeadersOnEvenStream => {
            alone(frame(HEADERS, END_HEADERS, idle + 1, &client.block("/echo", &[])))
        }
        Wrong::HeadersOnOlderStream => {
            let (skipped, _) = client.fresh(&[]);
            let (_, mut said) = client.fresh(&[]);
            said.extend(frame(HEADERS, END_HEADERS, skipped, &client.block("/echo", &[])));
            alone(said)
        }
        Wrong::BlockThatCannotBeRead => alone(frame(HEADERS, END_HEADERS, idle, &[0x80])),
        Wrong::BlockInterrupted => {
            let begun = frame(HEADERS, 0, idle, &client.block("/echo", &[]));
            alone([begun, frame(PING, 0, 0, &[0; 8])].concat())
        }
        Wrong::ResetOnIdle => alone(frame(RST_STREAM, 0, idle, &[0; 4])),
        Wrong::SettingsCut => alone(frame(SETTINGS, 0, 0, &[0; 5])),
        Wrong::SettingsWithWindowTooLarge => alone(settings(&[(INITIAL_WINDOW_SIZE, 1 << 31)])),
        Wrong::SettingsWithFrameTooSmall => alone(settings(&[(MAX_FRAME_SIZE, 16_383)])),
        Wrong::SettingsWithPush2 => alone(settings(&[(2, 2)])),
        Wrong::PingCut => alone(frame(PING, 0, 0, &[0; 7])),
        Wrong::WindowOfNothing => alone(frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        Wrong::WindowTooLarge => alone(frame(WINDOW_UPDATE, 0, 0, &window_max)),
        Wrong::WindowOnIdle => alone(frame(WINDOW_UPDATE, 0, idle, &[0, 0, 0, 1])),
        Wrong::WindowCut => alone(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])),
        _ => on_its_stream(client, wrong),
    }
}

/// The wrongs that are about one stream, which is opened for them.
fn on_its_stream(client: &mut Client, wrong: Wrong) -> (Vec<u8>, u32) {
    let length = |length| [("content-length", length)];
    let ends = END_HEADERS | END_STREAM;
    match wrong {
        Wrong::DataBehindTheEnd => {
            let (said, id) = behind(client, &[], DATA, END_STREAM, b"x");
            // The server has ended it too, and may take it for one that it has forgotten.
            ([said, frame(DATA, 0, id, b"x")].concat(), id)
        }
        Wrong::DataBeyondTheWindow => {
            let (id, said) = client.fresh(&[]);
            ([said, frame(DATA, 0, id, &[7; 16_384]).repeat(5)].concat(), id)
        }
        Wrong::DataBeyondTheLength => behind(client, &length("1"), DATA, 0, b"xy"),
        Wrong::EndBeforeTheLength => behind(client, &length("3"), DATA, END_STREAM, b"xy"),
        Wrong::MorePaddingThanPayload => behind(client, &[], DATA, PADDED, &[3, 0, 0]),
        Wrong::TrailersWithoutEnd => behind(client, &[], HEADERS, END_HEADERS, b"\0\x01x\x01y"),
        Wrong::TrailersWithPath => behind(client, &[], HEADERS, ends, b"\0\x05:path\x01/"),
        Wrong::ContinuationOfNothing => behind(client, &[], CONTINUATION, END_HEADERS, b""),
        Wrong::FieldInUpperCase => open_with(client, &[("Upper", "x")]),
        Wrong::FieldOfTheHop => open_with(client, &[("connection", "close")]),
        Wrong::WithoutPath => {
            let (id, block) = (client.next_stream(), client.block("", &[]));
            (frame(HEADERS, END_HEADERS, id, &block), id)
        }
        Wrong::ResetCut => behind(client, &[], RST_STREAM, 0, &[0; 3]),
        Wrong::SettingsOnStream => behind(client, &[], SETTINGS, 0, b""),
        Wrong::PingOnStream => behind(client, &[], PING, 0, &[0; 8]),
        Wrong::WindowOfNothingOnStream => behind(client, &[], WINDOW_UPDATE, 0, &[0; 4]),
        Wrong::WindowTooLargeOnStream => {
            behind(client, &[], WINDOW_UPDATE, 0, &[0x7f, 0xff, 0xff, 0xff])
        }
        Wrong::PriorityCut => behind(client, &[], PRIORITY, 0, &[0; 4]),
        Wrong::Push => behind(client, &[], PUSH_PROMISE, END_HEADERS, &[0, 0, 0, 2]),
        Wrong::FrameTooLong => behind(client, &[], DATA, 0, &[0; 16_385]),
        other => unreachable!("{other:?} is no stream's"),
    }
}

/// A frame on a stream that was just opened.
fn behind(
    client: &mut Client,
    more: &[(&str, &str)],
    kind: u8,
    flags: u8,
    payload: &[u8],
) -> (Vec<u8>, u32) {
    let (id, mut said) = client.fresh(more);
    said.extend(frame(kind, flags, id, payload));
    (said, id)
}

fn open_with(client: &mut Client, more: &[(&str, &str)]) -> (Vec<u8>, u32) {
    let (id, said) = client.fresh(more);
    (said, id)
}

/// What was said to it: the code of GOAWAY, and that of a reset of its stream.
type Verdict = (Option<u32>, Option<u32>);

fn verdict(seen: &Seen, stream: u32) -> Verdict {
    (seen.farewell, seen.streams.get(&stream).and_then(|answer| answer.reset))
}

/// Both say the same, but for what is listed here with its reason.
pub(crate) fn compare(wrong: Wrong, stream: u32, ours: &Seen, theirs: &Seen) {
    let (ours, theirs) = (verdict(ours, stream), verdict(theirs, stream));
    assert_eq!(ours, expected(wrong, theirs), "{wrong:?}: GOAWAY and reset");
}

/// What ours says: as h2's, or as RFC 9113 wants it where h2's says something else.
fn expected(wrong: Wrong, theirs: Verdict) -> Verdict {
    const PROTOCOL: u32 = 1;
    const FLOW_CONTROL: u32 = 3;
    const STREAM_CLOSED: u32 = 5;
    const FRAME_SIZE: u32 = 6;
    const COMPRESSION: u32 = 9;
    match wrong {
        // 4.2, 6.3 to 6.9: frames of a length they cannot have. (h2's: PROTOCOL_ERROR.)
        Wrong::PingCut
        | Wrong::PriorityCut
        | Wrong::ResetCut
        | Wrong::SettingsCut
        | Wrong::WindowCut => (Some(FRAME_SIZE), None),
        // 4.3. (The same.)
        Wrong::BlockThatCannotBeRead => (Some(COMPRESSION), None),
        // 6.5.2. (The same.)
        Wrong::SettingsWithWindowTooLarge => (Some(FLOW_CONTROL), None),
        // 5.1: the stream's error. (h2's forgets the stream and ends the connection.)
        Wrong::DataBehindTheEnd => (None, Some(STREAM_CLOSED)),
        // 5.1: a number passed over is a stream that has ended. (h2's: PROTOCOL_ERROR, of 5.1.1.)
        Wrong::HeadersOnOlderStream => (Some(STREAM_CLOSED), None),
        // 8.1.1 and 6.9: the stream's errors. (h2's ends the connection.)
        Wrong::FieldInUpperCase | Wrong::WindowOfNothingOnStream => (None, Some(PROTOCOL)),
        // 8.1 and 8.3.1: malformed. (h2's serves them.)
        Wrong::TrailersWithPath | Wrong::WithoutPath => (None, Some(PROTOCOL)),
        _ => theirs,
    }
}
