//! A cursor over the arguments of a request.

use std::ffi::CStr;

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::Malformed;
use crate::types::{InvalidName, Name};

/// What is left of an argument area.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args<'a>(&'a [u8]);

impl<'a> Args<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Copies a struct out; no alignment is asked of the bytes.
    pub(crate) fn take<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<T, Malformed> {
        let (value, rest) = T::read_from_prefix(self.0).map_err(|_| Malformed::Truncated)?;
        self.0 = rest;
        Ok(value)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Bytes up to and including a NUL.
    pub(crate) fn c_str(&mut self) -> Result<&'a CStr, Malformed> {
        let text = CStr::from_bytes_until_nul(self.0).map_err(|_| Malformed::NoNul)?;
        self.0 = &self.0[text.count_bytes() + 1..];
        Ok(text)
    }

    pub(crate) fn name(&mut self) -> Result<Name<'a>, Malformed> {
        Name::new(self.c_str()?).map_err(|invalid| match invalid {
            InvalidName::TooLong => Malformed::NameTooLong,
            InvalidName::Empty | InvalidName::Slash => Malformed::Name,
        })
    }

    pub(crate) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}
