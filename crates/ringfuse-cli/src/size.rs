//! Sizes as people write them.

/// Reads a number of bytes: `1048576`, `1024K`, `1M`, `1MiB`, with powers of 1024 and capital or small letters.
///
/// # Errors
///
/// A text for people, if it is no such number or too large.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("`{text}` is no size, as 64K, 1M or 2G are")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no size, as 64K, 1M or 2G are"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is too much"))
}

/// As [`parse`], for what is counted by 32 bits.
///
/// # Errors
///
/// As there.
pub(crate) fn parse_u32(text: &str) -> Result<u32, String> {
    parse(text)?.try_into().map_err(|_| format!("`{text}` is too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("64k", 65_536), ("1MiB", 1 << 20), ("3gb", 3 << 30), ("2T", 2 << 40)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1.5G", "1X", "1 M", "99999999999999999999", "99999999T"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_u32("4G").is_err() && parse_u32("1M").is_ok());
    }
}
