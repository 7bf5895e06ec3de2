//! What a filesystem implements, and what it is given.

mod bytes;
mod filesystem;
mod forgets;
mod negotiation;
mod request;

pub use bytes::{BytesOut, IoctlOut};
pub use filesystem::Filesystem;
pub use forgets::Forgets;
pub use negotiation::Negotiation;
pub(crate) use negotiation::{Agreement, Limits};
pub use request::{Caller, Request};
