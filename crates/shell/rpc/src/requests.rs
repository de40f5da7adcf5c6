//! The messages of a request, put together from what comes of its body.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use types::{Code, Refusal};

use crate::answer::Hub;
use crate::budget::Unfinished;
use crate::engine::RequestBody;
use crate::message::{Assembler, Encoding};
use crate::reply::PREFIX_BYTES;
use crate::stream::Source;

/// The messages of a request.
pub(crate) struct Requests {
    body: RequestBody,
    assembler: Assembler,
    partial: Unfinished,
    ended: bool,
}

impl Requests {
    pub fn new(hub: &Hub, body: RequestBody, encoding: Encoding) -> Requests {
        let limits = &hub.shared.limits;
        Requests {
            body,
            assembler: Assembler::new(limits.message_bytes_max, encoding),
            partial: hub.budget.unfinished(),
            ended: false,
        }
    }

    /// The only message of a call whose requests are no stream. `cut` is the code for one that
    /// ends too early.
    pub async fn first(&mut self, cut: Code) -> Result<Option<Bytes>, Refusal> {
        poll_fn(|cx| self.poll_message(cx, cut)).await
    }

    fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        cut: Code,
    ) -> Poll<Result<Option<Bytes>, Refusal>> {
        while !self.ended {
            match self.assembler.next() {
                Ok(None) => {}
                message => {
                    self.ended = message.is_err();
                    return Poll::Ready(message);
                }
            }
            let partial_bytes = self.assembler.partial_bytes();
            if partial_bytes != self.partial.bytes()
                && let Err(refusal) = self.partial.set(partial_bytes)
            {
                self.ended = true;
                return Poll::Ready(Err(refusal));
            }
            let Poll::Ready(chunk) = self.body.poll_chunk(cx) else {
                let refusal = ready!(self.partial.poll_overstayed(cx));
                self.ended = true;
                return Poll::Ready(Err(refusal));
            };
            match chunk {
                Some(Ok(chunk)) => self.assembler.push(chunk),
                Some(Err(gone)) => {
                    self.ended = true;
                    return Poll::Ready(Err(gone.into()));
                }
                None => {
                    self.ended = true;
                    if !self.assembler.is_between_messages() {
                        // Go reads a prefix that is cut short as none at all.
                        let cut_prefix = self.assembler.partial_bytes() < PREFIX_BYTES;
                        let text = if cut_prefix { "EOF" } else { "unexpected EOF" }.into();
                        return Poll::Ready(Err(Refusal::Other(cut, text)));
                    }
                }
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl Source for Requests {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        self.poll_message(cx, Code::Internal)
    }
}
