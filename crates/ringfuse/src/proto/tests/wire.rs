//! Messages as bytes: the pieces that the tables are made of, and the two framings.

use std::ffi::CStr;

use crate::proto::decode::decode;
use crate::proto::message::in_header;
use crate::proto::op::{Operation, SecurityContexts};
use crate::proto::{Format, Malformed, Message};
use crate::types::{Name, NodeId};

/// Bytes from pieces, each a kind and a value: `wire![u32 3, u32 0, bytes b"name\0"]`.
macro_rules! wire {
    ($($kind:ident $value:expr),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut out: Vec<u8> = Vec::new();
        $($crate::proto::tests::wire::$kind(&mut out, $value);)*
        out
    }};
}
pub(super) use wire;

pub(super) fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_ne_bytes());
}

pub(super) fn u32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_ne_bytes());
}

pub(super) fn i32(out: &mut Vec<u8>, value: i32) {
    out.extend(value.to_ne_bytes());
}

pub(super) fn u64(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_ne_bytes());
}

pub(super) fn i64(out: &mut Vec<u8>, value: i64) {
    out.extend(value.to_ne_bytes());
}

pub(super) fn bytes(out: &mut Vec<u8>, value: impl AsRef<[u8]>) {
    out.extend(value.as_ref());
}

/// This many zero bytes.
pub(super) fn zero(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, 0);
}

/// What memory holds that nothing was written to.
pub(super) const STALE: u8 = 0xa5;

/// Length of `fuse_in_header`.
pub(super) const HEADER: usize = 40;

/// Length of the area for an operation's struct in a ring entry, and of that for the header.
pub(super) const AREA: usize = 128;

pub(super) const UNIQUE: u64 = 0x1020_3040_5060_7080;
pub(super) const UID: u32 = 0x0000_03e8;
pub(super) const GID: u32 = 0x0000_0064;
pub(super) const PID: u32 = 0x0000_10e1;

/// The node in the header of most messages.
pub(super) const NODE: u64 = 0x0102_0304_0506_0708;

pub(super) fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(super) fn name(text: &CStr) -> Name<'_> {
    Name::new(text).unwrap()
}

/// The header of a request: 40 bytes.
pub(super) fn header(len: usize, opcode: u32, nodeid: u64, extlen: u16) -> Vec<u8> {
    wire![
        u32 len as u32,
        u32 opcode,
        u64 UNIQUE,
        u64 nodeid,
        u32 UID,
        u32 GID,
        u32 PID,
        u16 extlen,
        u16 0,
    ]
}

/// Writes the length of a message into its header.
pub(super) fn set_len(message: &mut [u8], len: usize) {
    message[..4].copy_from_slice(&(len as u32).to_ne_bytes());
}

/// What a message decodes to.
#[derive(Clone, Debug)]
pub(super) enum Want<'a> {
    Is(Operation<'a>),
    /// The operation but for its security contexts, and these.
    With(Operation<'a>, Vec<Context<'a>>),
    /// A batch of forgets: nodes and counts.
    Forgets(Vec<(u64, u64)>),
    Refused(Malformed),
}

/// Name and value of a security context.
pub(super) type Context<'a> = (&'a CStr, &'a [u8]);

impl<'a> From<Operation<'a>> for Want<'a> {
    fn from(operation: Operation<'a>) -> Self {
        Self::Is(operation)
    }
}

impl From<Malformed> for Want<'_> {
    fn from(malformed: Malformed) -> Self {
        Self::Refused(malformed)
    }
}

/// A message and what it means.
#[derive(Clone, Debug)]
pub(super) struct Case<'a> {
    pub(super) title: String,
    pub(super) opcode: u32,
    pub(super) nodeid: u64,
    /// Length of the extensions, in units of 8 bytes.
    pub(super) extlen: u16,
    pub(super) format: Format,
    /// The operation's struct.
    pub(super) op: Vec<u8>,
    /// All that follows the struct.
    pub(super) payload: Vec<u8>,
    /// Lengths at which the payload may be cut and be valid nevertheless.
    pub(super) cuts: Vec<usize>,
    pub(super) want: Want<'a>,
}

/// A message to the node [`NODE`].
pub(super) fn case<'a>(
    title: impl Into<String>,
    opcode: u32,
    op: Vec<u8>,
    payload: Vec<u8>,
    want: impl Into<Want<'a>>,
) -> Case<'a> {
    Case {
        title: title.into(),
        opcode,
        nodeid: NODE,
        extlen: 0,
        format: Format { setxattr_ext: true },
        op,
        payload,
        cuts: Vec::new(),
        want: want.into(),
    }
}

impl Case<'_> {
    pub(super) fn nodeid(self, nodeid: u64) -> Self {
        Self { nodeid, ..self }
    }

    pub(super) fn extlen(self, extlen: u16) -> Self {
        Self { extlen, ..self }
    }

    pub(super) fn setxattr_ext(self, setxattr_ext: bool) -> Self {
        Self { format: Format { setxattr_ext }, ..self }
    }

    pub(super) fn cuts(self, cuts: &[usize]) -> Self {
        Self { cuts: cuts.to_vec(), ..self }
    }

    pub(super) fn len(&self) -> usize {
        HEADER + self.op.len() + self.payload.len()
    }

    /// The message in one piece.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut out = header(self.len(), self.opcode, self.nodeid, self.extlen);
        out.extend(&self.op);
        out.extend(&self.payload);
        out
    }

    /// Decodes the message in each framing and compares.
    pub(super) fn check(&self) {
        let message = self.message();
        self.check_one("device", device(&message, self.format));
        let mut shifted = vec![STALE];
        shifted.extend(&message);
        self.check_one("device, at an odd address", device(&shifted[1..], self.format));
        self.check_one("ring", RingEntry::of(&message, self.op.len()).message(self.format));
    }

    fn check_one(&self, framing: &str, message: Result<Message<'_>, Malformed>) {
        let title = format!("{} ({framing})", self.title);
        if let Ok(message) = &message {
            let header = &message.header;
            let seen = (header.opcode, header.unique, header.nodeid, header.uid, header.gid, header.pid);
            assert_eq!(seen, (self.opcode, UNIQUE, self.nodeid, UID, GID, PID), "{title}: header");
            assert_eq!(message.op, self.op, "{title}: struct");
            assert_eq!(message.payload, self.payload, "{title}: payload");
        }
        let decoded = operation(message);
        match &self.want {
            Want::Refused(malformed) => assert_eq!(decoded, Err(*malformed), "{title}"),
            Want::Is(want) => assert_eq!(decoded, Ok(*want), "{title}"),
            Want::With(want, contexts) => {
                let decoded = decoded.unwrap_or_else(|malformed| panic!("{title}: {malformed}"));
                assert_eq!(without_contexts(decoded), *want, "{title}");
                assert_eq!(contexts_of(&decoded).iter().collect::<Vec<_>>(), *contexts, "{title}");
            }
            Want::Forgets(want) => match decoded {
                Ok(Operation::BatchForget(batch)) => {
                    let forgets: Vec<_> = batch.map(|one| (one.node.get(), one.nlookup)).collect();
                    assert_eq!(forgets, *want, "{title}");
                }
                other => panic!("{title}: {other:?}"),
            },
        }
    }
}

/// A message as it was read from the device.
pub(super) fn device(bytes: &[u8], format: Format) -> Result<Message<'_>, Malformed> {
    Message::from_device(bytes, format)
}

/// A message as it lies in a ring entry, with stale bytes wherever the kernel writes none.
pub(super) struct RingEntry<'a> {
    pub(super) in_out: [u8; AREA],
    pub(super) op_in: [u8; AREA],
    pub(super) payload: &'a [u8],
}

impl<'a> RingEntry<'a> {
    /// Places a message whose operation's struct has `op` bytes.
    pub(super) fn of(message: &'a [u8], op: usize) -> Self {
        let (header, body) = message.split_at(HEADER);
        let (op, payload) = body.split_at(op);
        Self { in_out: area(header), op_in: area(op), payload }
    }

    pub(super) fn message(&self, format: Format) -> Result<Message<'_>, Malformed> {
        Message::from_ring(in_header(&self.in_out)?, &self.op_in, self.payload, format)
    }
}

fn area(bytes: &[u8]) -> [u8; AREA] {
    let mut area = [STALE; AREA];
    area[..bytes.len()].copy_from_slice(bytes);
    area
}

pub(super) fn operation(message: Result<Message<'_>, Malformed>) -> Result<Operation<'_>, Malformed> {
    decode(&message?)
}

/// The security contexts of a creating operation.
pub(super) fn contexts_of<'a>(operation: &Operation<'a>) -> SecurityContexts<'a> {
    match operation {
        Operation::Symlink(op) => op.creation.security,
        Operation::Mknod(op) => op.creation.security,
        Operation::Mkdir(op) => op.creation.security,
        Operation::Create(op) => op.creation.security,
        Operation::Tmpfile(op) => op.creation.security,
        _ => SecurityContexts::default(),
    }
}

fn without_contexts(mut operation: Operation<'_>) -> Operation<'_> {
    match &mut operation {
        Operation::Symlink(op) => op.creation.security = SecurityContexts::default(),
        Operation::Mknod(op) => op.creation.security = SecurityContexts::default(),
        Operation::Mkdir(op) => op.creation.security = SecurityContexts::default(),
        Operation::Create(op) => op.creation.security = SecurityContexts::default(),
        Operation::Tmpfile(op) => op.creation.security = SecurityContexts::default(),
        _ => {}
    }
    operation
}

/// Iterates over all that an operation lets one iterate over, and returns how many items there were. It may be no
/// more than the payload has room for.
pub(super) fn drain(operation: &Operation<'_>, payload: usize) -> usize {
    let forgets = match operation {
        Operation::BatchForget(batch) => batch.take(payload + 1).count(),
        _ => 0,
    };
    assert!(forgets <= payload / 16, "{forgets} forgets in {payload} bytes");
    let contexts = contexts_of(operation).iter().take(payload + 1).count();
    // The smallest is of 8 bytes, a name of one byte and its NUL, and no value.
    assert!(contexts <= payload / 10, "{contexts} contexts in {payload} bytes");
    forgets + contexts
}
