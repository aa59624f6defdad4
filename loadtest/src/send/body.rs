//! The body of an answer, as far as it is looked at.

use bytes::BytesMut;

use crate::check::MAX_CHECKED;

/// A body.
pub(super) struct Collected {
    wanted: bool,
    bytes: Option<BytesMut>,
}

impl Collected {
    pub(super) fn new(wanted: bool) -> Self {
        Collected { wanted, bytes: Some(BytesMut::new()) }
    }

    pub(super) fn take(&mut self, data: &[u8]) {
        if self.wanted
            && let Some(bytes) = &mut self.bytes
        {
            if bytes.len() + data.len() > MAX_CHECKED {
                self.bytes = None;
            } else {
                bytes.extend_from_slice(data);
            }
        }
    }

    /// All of it; none if it was too long.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }
}
