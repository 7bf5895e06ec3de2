//! The kernel's first message. It is apart from the operations, as it is answered before there are any.

use ringfuse_abi as abi;

use super::Malformed;
use super::args::Args;
use super::message::in_header;

/// Decodes a `FUSE_INIT` read from the device: its number, and what the kernel offers.
///
/// Kernels before 5.17 send the first 16 bytes alone.
pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, abi::fuse_init_in), Malformed> {
    let header = in_header(bytes)?;
    if header.len as usize != bytes.len() {
        return Err(Malformed::Length);
    }
    if header.opcode != abi::FUSE_INIT {
        return Err(Malformed::Opcode);
    }
    let mut args = Args::new(&bytes[size_of_val(&header)..]);
    let kernel = match args.take::<abi::fuse_init_in>() {
        Ok(kernel) => kernel,
        Err(_) => {
            let [major, minor, max_readahead, flags]: [u32; 4] = args.take()?;
            abi::fuse_init_in { major, minor, max_readahead, flags, ..Default::default() }
        }
    };
    Ok((header.unique, kernel))
}
