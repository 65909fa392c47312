//! Little-endian fields into and out of byte slices, without panics and without allocation.

use super::WireError;

/// Writes fields one after the other. Writing beyond the end is remembered instead of done, so
/// that a caller asks once, at the end.
pub(super) struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn put(&mut self, field: &[u8]) {
        let end = self.at.saturating_add(field.len());
        if let Some(place) = self.bytes.get_mut(self.at..end) {
            place.copy_from_slice(field);
        }
        self.at = end;
    }

    pub fn u8(&mut self, v: u8) {
        self.put(&[v]);
    }

    pub fn u16(&mut self, v: u16) {
        self.put(&v.to_le_bytes());
    }

    pub fn u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }

    pub fn u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }

    pub fn i64(&mut self, v: i64) {
        self.put(&v.to_le_bytes());
    }

    pub fn f32s(&mut self, values: &[f32]) {
        for v in values {
            self.put(&v.to_le_bytes());
        }
    }

    /// Overwrites two bytes at `at`: a length that is known only afterwards.
    pub fn patch_u16(&mut self, at: usize, v: u16) {
        if let Some(place) = self.bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&v.to_le_bytes());
        }
    }

    /// Overwrites one byte at `at`.
    pub fn patch_u8(&mut self, at: usize, v: u8) {
        if let Some(place) = self.bytes.get_mut(at) {
            *place = v;
        }
    }

    /// Bytes asked to be written so far; may exceed the slice.
    pub fn len(&self) -> usize {
        self.at
    }

    /// What has been written, if all of it fitted.
    pub fn written(&self) -> Option<&[u8]> {
        self.bytes.get(..self.at)
    }
}

/// Reads fields one after the other.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// `what` names the part in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (field, rest) =
            self.bytes.split_at_checked(n).ok_or(WireError::TooShort { what: self.what })?;
        self.bytes = rest;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (field, rest) =
            self.bytes.split_first_chunk().ok_or(WireError::TooShort { what: self.what })?;
        self.bytes = rest;
        Ok(*field)
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// `N` finite numbers.
    pub fn f32s<const N: usize>(&mut self) -> Result<[f32; N], WireError> {
        let mut values = [0.0; N];
        for v in &mut values {
            *v = f32::from_le_bytes(self.array()?);
            if !v.is_finite() {
                return Err(WireError::NotFinite { what: self.what });
            }
        }
        Ok(values)
    }

    /// A block that begins with its own length (u16, counting itself): a reader over the rest of
    /// it. What this version does not know at the block's end is skipped with it.
    pub fn block(&mut self, what: &'static str) -> Result<Reader<'a>, WireError> {
        let mut length = Reader::new(self.bytes, what);
        let length = usize::from(length.u16()?);
        let too_short = WireError::TooShort { what };
        let (block, rest) = self.bytes.split_at_checked(length).ok_or(too_short)?;
        let inside = block.get(2..).ok_or(WireError::TooShort { what })?;
        self.bytes = rest;
        Ok(Reader::new(inside, what))
    }
}
