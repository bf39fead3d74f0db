//! One authenticated connection: frames in, frames out, keep-alives, and its end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::handshake::Stream;
use super::{Events, NetLimits};
use crate::base::ConnId;
use crate::base::limits::PEER_MESSAGE_MAX;
use crate::node::io::{Input, Protocol};
use crate::wire::WireError;
use crate::wire::frame::{self, Header};

/// What the driver tells a connection.
pub(super) enum Outgoing {
    Frame {
        channel: u32,
        head: Bytes,
        body: Bytes,
    },
    /// After what was sent.
    Close(String),
    /// At once.
    Cut(String),
}

/// See the module.
pub(super) struct Connection {
    conn: ConnId,
    stream: Stream,
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    events: Events,
    limits: NetLimits,
    /// Ends it whatever happens.
    end_at: Option<Instant>,
    reader: Reader,
    writer: Writer,
    read_at: Instant,
    written_at: Instant,
    timer: Pin<Box<Sleep>>,
    closing: Option<Closing>,
}

/// The connection is being closed by us: what was sent goes out, then close_notify, then the peer's end is awaited so
/// that no reset overtakes our last bytes.
struct Closing {
    why: String,
    shut: bool,
}

impl Connection {
    pub(super) fn new(
        conn: ConnId,
        mut stream: Stream,
        stock: bool,
        outgoing: mpsc::UnboundedReceiver<Outgoing>,
        events: Events,
        limits: NetLimits,
        lasts: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        set_buffer_limit(&mut stream);
        let end_at = lasts.map(|time| now + time);
        let first = now + limits.idle_time / KEEP_ALIVES;
        let timer = Box::pin(sleep_until(end_at.map_or(first, |end| end.min(first))));
        Self {
            conn,
            stream,
            outgoing,
            events,
            limits,
            end_at,
            reader: Reader::new(stock),
            writer: Writer { stock, ..Writer::default() },
            read_at: now,
            written_at: now,
            timer,
            closing: None,
        }
    }

    /// Carries frames until the end; returns why it came.
    pub(super) async fn run(mut self) -> (ConnId, String) {
        let why = poll_fn(|context| self.poll(context)).await;
        (self.conn, why)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<String> {
        if let Poll::Ready(why) = self.poll_outgoing(context) {
            return Poll::Ready(why);
        }
        match self.poll_write(context) {
            Poll::Ready(Ok(())) => {
                if let Poll::Ready(why) = self.poll_shut(context) {
                    return Poll::Ready(why);
                }
            }
            Poll::Ready(Err(error)) => return Poll::Ready(self.end_words(&error)),
            Poll::Pending => {}
        }
        if let Poll::Ready(why) = self.poll_read(context) {
            return Poll::Ready(why);
        }
        // After reading: when the machine was suspended, what came meanwhile counts before the silence does.
        self.poll_timer(context)
    }

    /// Takes what is to be sent. The driver dropping its end means: at once.
    fn poll_outgoing(&mut self, context: &mut Context<'_>) -> Poll<String> {
        let mut batch = Vec::new();
        loop {
            match self.outgoing.poll_recv_many(context, &mut batch, BATCH) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => return Poll::Ready("it was given up".into()),
                Poll::Ready(_) => {}
            }
            for out in batch.drain(..) {
                match out {
                    Outgoing::Cut(why) => return Poll::Ready(why),
                    _ if self.closing.is_some() => {}
                    Outgoing::Frame { channel, head, body } => self.writer.push(channel, head, body),
                    Outgoing::Close(why) => {
                        self.closing = Some(Closing { why, shut: false });
                        self.timer.as_mut().reset(Instant::now() + self.limits.close_time);
                    }
                }
            }
        }
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<String> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            if let Some(closing) = &mut self.closing {
                return Poll::Ready(std::mem::take(&mut closing.why));
            }
            if self.end_at.is_some_and(|end| end <= now) {
                return Poll::Ready("its time was over".into());
            }
            let idle = self.limits.idle_time;
            if now >= self.read_at + idle {
                return Poll::Ready(format!("nothing came for {} s", idle.as_secs_f32()));
            }
            let keep_alive = idle / KEEP_ALIVES;
            if now >= self.written_at + keep_alive {
                if self.writer.is_empty() {
                    self.writer.push(frame::CONTROL, Bytes::new(), Bytes::new());
                    context.waker().wake_by_ref();
                } else if now >= self.written_at + idle {
                    return Poll::Ready(format!("it took nothing for {} s", idle.as_secs_f32()));
                }
            }
            if now >= self.read_at + keep_alive {
                self.reader.rest();
            }
            let next = self.end_at.map_or(now + keep_alive, |end| end.min(now + keep_alive));
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }

    /// Ready when all is written and flushed.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.writer.taken;
        let result = self.writer.poll(context, &mut self.stream);
        if self.writer.taken != before {
            self.written_at = Instant::now();
        }
        let bytes = std::mem::take(&mut self.writer.credit);
        if bytes > 0 && self.closing.is_none() {
            (self.events)(Input::Sent { conn: self.conn, bytes });
        }
        result
    }

    /// Says goodbye when closing; ready with the reason when there is nobody left to say it to.
    fn poll_shut(&mut self, context: &mut Context<'_>) -> Poll<String> {
        let Some(closing) = &mut self.closing else { return Poll::Pending };
        if !closing.shut {
            match ready!(Pin::new(&mut self.stream).poll_shutdown(context)) {
                Ok(()) => closing.shut = true,
                Err(_) => return Poll::Ready(std::mem::take(&mut closing.why)),
            }
        }
        Poll::Pending
    }

    /// Reads and tells frames; ready at the end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<String> {
        let mut read = 0;
        while read < READ_BURST {
            let before = read;
            match self.reader.poll(context, &mut self.stream) {
                Poll::Pending => {
                    self.note_read(read);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(self.close_words("the peer closed it")),
                Poll::Ready(Err(error)) => return Poll::Ready(self.end_words(&error)),
                Poll::Ready(Ok(count)) => read = before + count,
            }
            if self.closing.is_some() {
                self.reader.discard();
                continue;
            }
            loop {
                match self.reader.frame() {
                    Ok(Some((frame::CONTROL, payload))) if payload.is_empty() => {}
                    Ok(Some((channel, payload))) => {
                        (self.events)(Input::Frame { conn: self.conn, channel, payload });
                    }
                    Ok(None) => break,
                    Err(error) => return Poll::Ready(error.to_string()),
                }
            }
        }
        self.note_read(read);
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn note_read(&mut self, bytes: usize) {
        if bytes > 0 {
            self.read_at = Instant::now();
            self.reader.grow(bytes);
        }
    }

    fn close_words(&mut self, otherwise: &str) -> String {
        self.closing.take().map_or_else(|| otherwise.to_owned(), |closing| closing.why)
    }

    fn end_words(&mut self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.close_words("it was cut"),
            _ => self.close_words(&format!("it broke: {error}")),
        }
    }
}

/// Lets rustls seal as much at once as one gathered write brings.
fn set_buffer_limit(stream: &mut Stream) {
    match stream {
        Stream::Client(stream) => stream.get_mut().1.set_buffer_limit(Some(WRITE_BURST)),
        Stream::Server(stream) => stream.get_mut().1.set_buffer_limit(Some(WRITE_BURST)),
    }
}

/// Cuts the stream into frames whose payloads are slices of what was read.
struct Reader {
    buffer: BytesMut,
    /// Room to make for the next reads.
    room: usize,
    /// What comes are messages of BEP 3, `length(4) | message`.
    stock: bool,
}

impl Reader {
    fn new(stock: bool) -> Self {
        Self { buffer: BytesMut::new(), room: READ_ROOM_MIN, stock }
    }

    /// Reads once.
    fn poll(&mut self, context: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < READ_ROOM_LEAST {
            self.buffer.reserve(self.room);
        }
        pin!(stream.read_buf(&mut self.buffer)).poll(context)
    }

    /// The next whole frame, if it is here.
    fn frame(&mut self) -> Result<Option<(u32, Bytes)>, WireError> {
        let Some((header, Header { length, channel })) = self.header()? else { return Ok(None) };
        let length = length as usize;
        if self.buffer.len() < header + length {
            let missing = header + length - self.buffer.len();
            self.buffer.reserve(missing + READ_ROOM_LEAST);
            return Ok(None);
        }
        self.buffer.advance(header);
        let payload = self.buffer.split_to(length);
        // A short payload that is kept must not keep a long buffer.
        let payload = if length < COPY_BELOW { Bytes::copy_from_slice(&payload) } else { payload.freeze() };
        Ok(Some((channel, payload)))
    }

    /// The next header, if it is here, and its bytes. A stock client's message without a byte keeps alive as our empty
    /// frames of control do.
    fn header(&self) -> Result<Option<(usize, Header)>, WireError> {
        if !self.stock {
            let Some(header) = self.buffer.first_chunk() else { return Ok(None) };
            return Ok(Some((frame::HEADER, Header::decode(header)?)));
        }
        let Some(prefix) = self.buffer.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix);
        if length as usize > PEER_MESSAGE_MAX {
            return Err(WireError::OverLimit("a peer message's length in bytes", length as usize, PEER_MESSAGE_MAX));
        }
        let channel = if length == 0 { frame::CONTROL } else { Protocol::STOCK_CHANNEL };
        Ok(Some((prefix.len(), Header { length, channel })))
    }

    /// Makes more room when a burst filled what there was.
    fn grow(&mut self, burst: usize) {
        if burst >= self.room {
            self.room = (self.room * 2).min(READ_ROOM_MAX);
        }
    }

    /// Gives the memory back while nothing comes.
    fn rest(&mut self) {
        if self.buffer.is_empty() {
            *self = Self::new(self.stock);
        }
    }

    fn discard(&mut self) {
        self.buffer.clear();
    }
}

/// Frames that wait to be sealed, and how far the first of them has gone.
#[derive(Default)]
struct Writer {
    queue: VecDeque<[Bytes; 3]>,
    /// Bytes of the first frame that are gone.
    gone: usize,
    /// Bytes that TLS took since the start; it wraps.
    taken: usize,
    /// Payload bytes of frames that went and were not told.
    credit: usize,
    unflushed: bool,
    /// As [`Reader::stock`]: a frame's header begins with the length, and that is all that goes out of it.
    stock: bool,
}

impl Writer {
    fn push(&mut self, channel: u32, head: Bytes, body: Bytes) {
        let header = Header::new(channel, head.len() + body.len()).encode();
        let header = if self.stock { &header[..4] } else { &header[..] };
        self.queue.push_back([Bytes::copy_from_slice(header), head, body]);
    }

    /// True when the kernel has everything.
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    /// Writes until the queue is empty and flushed, or the socket is full, or it is others' turn.
    fn poll(&mut self, context: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        let mut written = 0;
        while !self.queue.is_empty() {
            if written >= READ_BURST {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.gather(&mut slices);
            match ready!(Pin::new(&mut *stream).poll_write_vectored(context, &slices[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => {
                    written += bytes;
                    self.advance(bytes);
                }
            }
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut skip = self.gone;
        let (mut count, mut bytes) = (0, 0);
        for part in self.queue.iter().flatten() {
            if count == SLICES || bytes >= WRITE_BURST {
                break;
            }
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() {
                slices[count] = IoSlice::new(&part[skipped..]);
                bytes += part.len() - skipped;
                count += 1;
            }
        }
        count
    }

    fn advance(&mut self, bytes: usize) {
        self.taken = self.taken.wrapping_add(bytes);
        self.unflushed = true;
        self.gone += bytes;
        while let Some([header, head, body]) = self.queue.front() {
            let payload = head.len() + body.len();
            if self.gone < header.len() + payload {
                break;
            }
            self.gone -= header.len() + payload;
            self.credit += payload;
            self.queue.pop_front();
        }
    }
}

/// Keep-alives in the time after which silence ends a connection.
const KEEP_ALIVES: u32 = 3;
/// Commands taken at once.
const BATCH: usize = 256;
/// Bytes that are read, or written, before others have their turn.
const READ_BURST: usize = 1_048_576;
/// Bytes that are gathered for one write.
const WRITE_BURST: usize = 262_144;
/// Parts that are gathered for one write.
const SLICES: usize = 64;
/// Bytes of room made for reading at first and at most; and how little of it is worth a read.
const READ_ROOM_MIN: usize = 16_384;
const READ_ROOM_MAX: usize = 262_144;
const READ_ROOM_LEAST: usize = 4_096;
/// Payloads shorter than this are copied out.
const COPY_BELOW: usize = 4_096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Vec<(u32, Vec<u8>, Vec<u8>)>> {
        let part = || prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), Just(vec![7; 5_000])];
        proptest::collection::vec((any::<u32>(), part(), part()), 0..80)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn frames_survive_any_cuts(frames in frames(), cuts in proptest::collection::vec(1usize..9_000, 1..50)) {
            let mut writer = Writer::default();
            for (channel, head, body) in &frames {
                writer.push(*channel, head.clone().into(), body.clone().into());
            }
            let mut reader = Reader::new(false);
            let mut told = Vec::new();
            let mut cuts = cuts.iter().cycle();
            while !writer.queue.is_empty() {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = writer.gather(&mut slices);
                prop_assert!(count > 0, "frames wait and nothing is gathered");
                let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = bytes.len().min(*cuts.next().expect("a cycle"));
                writer.advance(taken);
                reader.buffer.extend_from_slice(&bytes[..taken]);
                while let Some(frame) = reader.frame().expect("frames within the limit") {
                    told.push(frame);
                }
            }
            let sent: Vec<_> =
                frames.iter().map(|(channel, head, body)| (*channel, Bytes::from([&head[..], body].concat()))).collect();
            prop_assert_eq!(told, sent);
            prop_assert!(reader.buffer.is_empty());
            prop_assert_eq!(writer.credit, frames.iter().map(|(_, head, body)| head.len() + body.len()).sum::<usize>());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let mut reader = Reader::new(false);
            reader.buffer.extend_from_slice(&bytes);
            while let Ok(Some(_)) = reader.frame() {}
            prop_assert!(reader.buffer.capacity() <= crate::base::limits::FRAME_MAX + 2 * READ_ROOM_MAX);
        }
    }
}
