//! Data and holes, where programs may have maps of the file.

use std::ops::Range;

use ringfuse::{NodeId, Notifier, Result};

/// Seeks until the hole that was met is known to be one. What a program has stored there through a map has not been written
/// yet: the kernel is made to bring it, and it is looked once more. `seek` tells the answer, and the hole that it found or passed.
pub(crate) async fn settle(
    notifier: Option<&Notifier>,
    node: NodeId,
    mut seek: impl AsyncFnMut() -> Result<(Result<u64>, Range<u64>)>,
) -> Result<u64> {
    let mut seen = 0..0;
    loop {
        let (found, hole) = seek().await?;
        match notifier {
            Some(notifier) if !hole.is_empty() && !seen.contains(&hole.start) => {
                let len = hole.end - hole.start;
                let _ = notifier.inval_inode(node, hole.start as i64, len as i64).await;
                seen = hole;
            }
            _ => return found,
        }
    }
}
