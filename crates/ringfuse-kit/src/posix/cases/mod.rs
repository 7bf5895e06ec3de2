//! The cases, a file for each topic.

use super::Case;

macro_rules! topics {
    ($($topic:ident)*) => {
        $(mod $topic;)*

        /// The tables of all topics.
        pub(super) const TOPICS: &[&[Case]] = &[$($topic::CASES),*];
    };
}

topics! { open rw truncate times dirs readdir rename links unlink perm setid special xattr acl }
