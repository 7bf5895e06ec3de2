//! The extensions behind the names of a creating operation: `total_extlen` units of 8 bytes of them.

use std::ffi::CStr;

use ringfuse_abi as abi;

use super::Malformed;
use super::args::Args;
use super::op::{Creation, SecurityContexts};

const UNIT: usize = 8;

/// Reads the blocks of an extension area. The second word of a block tells what it is: a number of security
/// contexts, up to `FUSE_MAX_NR_SECCTX`, or the type of an extension above it.
pub(super) fn creation(mut area: &[u8], umask: u32) -> Result<Creation<'_>, Malformed> {
    let mut creation = Creation { umask, ..Creation::default() };
    while !area.is_empty() {
        let [size, kind]: [u32; 2] = Args::new(area).take().map_err(|_| Malformed::Extension)?;
        let size = size as usize;
        if size < UNIT || !size.is_multiple_of(UNIT) {
            return Err(Malformed::Extension);
        }
        let (block, rest) = area.split_at_checked(size).ok_or(Malformed::Extension)?;
        let body = &block[UNIT..];
        match kind {
            count if count <= abi::FUSE_MAX_NR_SECCTX => {
                if security_contexts(body).count() != count as usize {
                    return Err(Malformed::Extension);
                }
                creation.security = SecurityContexts(body);
            }
            abi::FUSE_EXT_GROUPS => creation.supplementary_group = first_group(body)?,
            // An extension of a later kernel: its size is known, so it can be passed over.
            _ => {}
        }
        area = rest;
    }
    Ok(creation)
}

fn first_group(body: &[u8]) -> Result<Option<u32>, Malformed> {
    let mut args = Args::new(body);
    let count: u32 = args.take().map_err(|_| Malformed::Extension)?;
    if count == 0 {
        return Ok(None);
    }
    args.take().map(Some).map_err(|_| Malformed::Extension)
}

/// Walks `fuse_secctx` records, each with a name, a value, and padding to 8 bytes; stops at the first that does
/// not parse.
pub(super) fn security_contexts(area: &[u8]) -> impl Iterator<Item = (&CStr, &[u8])> {
    let mut rest = area;
    std::iter::from_fn(move || {
        let mut args = Args::new(rest);
        let context: abi::fuse_secctx = args.take().ok()?;
        let name = args.c_str().ok()?;
        let value = args.bytes(context.size as usize).ok()?;
        if name.is_empty() {
            return None;
        }
        let used = rest.len() - args.rest().len();
        rest = rest.get(used.next_multiple_of(UNIT)..).unwrap_or_default();
        Some((name, value))
    })
}
