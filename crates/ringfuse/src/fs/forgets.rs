//! Lookup counts that come back.

use crate::proto::decode::ForgetBatch;
use crate::proto::op::Forget;

/// The lookup counts of one `FUSE_FORGET` or `FUSE_BATCH_FORGET`: iterate over it.
#[derive(Debug)]
pub struct Forgets<'a>(Kind<'a>);

#[derive(Debug)]
enum Kind<'a> {
    One(Option<Forget>),
    Batch(ForgetBatch<'a>),
}

impl<'a> Forgets<'a> {
    pub(crate) fn one(forget: Forget) -> Self {
        Self(Kind::One(Some(forget)))
    }

    pub(crate) fn batch(batch: ForgetBatch<'a>) -> Self {
        Self(Kind::Batch(batch))
    }
}

impl Iterator for Forgets<'_> {
    type Item = Forget;

    fn next(&mut self) -> Option<Forget> {
        match &mut self.0 {
            Kind::One(forget) => forget.take(),
            Kind::Batch(batch) => batch.next(),
        }
    }
}
