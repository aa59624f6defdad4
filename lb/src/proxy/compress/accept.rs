//! Which coding a client likes best (RFC 9110, section 12.5.3).

use http::{HeaderMap, header};
use wire::compress::Coding;

/// The best of `codings` for a client that sent `headers`; the first of those that it likes equally. None where it likes
/// the answer as it is better, or says nothing.
pub(super) fn choose(headers: &HeaderMap, codings: &[Coding]) -> Option<Coding> {
    // In thousandths: those of each coding, of any other, and of none.
    let (mut named, mut others, mut plain) = ([None; 3], None, None);
    let items = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','));
    for item in items {
        let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        // A weight that is none says nothing good.
        let weight = parts.next().map_or(1_000, |part| weight(part).unwrap_or(0));
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let slot = if is("zstd") {
            &mut named[Coding::Zstd as usize]
        } else if is("br") {
            &mut named[Coding::Br as usize]
        } else if is("gzip") || is("x-gzip") {
            &mut named[Coding::Gzip as usize]
        } else if is("*") {
            &mut others
        } else if is("identity") {
            &mut plain
        } else {
            continue;
        };
        slot.get_or_insert(weight);
    }
    let likes = |coding: Coding| named[coding as usize].or(others).unwrap_or(0);
    let mut best: Option<Coding> = None;
    for &coding in codings {
        if likes(coding) > best.map_or(0, likes) {
            best = Some(coding);
        }
    }
    best.filter(|&best| plain.unwrap_or(0) <= likes(best))
}

/// `q=0.5` in thousandths.
fn weight(part: &[u8]) -> Option<u16> {
    let value = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="))?;
    let text = std::str::from_utf8(value).ok()?;
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_likes_best() {
        const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];
        for (values, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["X-Gzip"], Some(Coding::Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Coding::Zstd)),
            (&["gzip", "br"], Some(Coding::Br)),
            (&["gzip;q=1.0, br;q=0.9, zstd;q=0.8"], Some(Coding::Gzip)),
            (&["gzip ; q=0.001"], Some(Coding::Gzip)),
            (&["gzip;q=0"], None),
            (&["*"], Some(Coding::Zstd)),
            (&["*, zstd;q=0"], Some(Coding::Br)),
            (&["*;q=0, gzip"], Some(Coding::Gzip)),
            (&["gzip;q=0.5, identity"], None),
            (&["gzip;q=0.5, identity;q=0.5"], Some(Coding::Gzip)),
            (&["identity;q=0, gzip;q=0.1"], Some(Coding::Gzip)),
            (&["deflate"], None),
            // What is no weight is none.
            (&["gzip;q=2"], None),
            (&["gzip;q=0.0001"], None),
            (&["gzip;level=9"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT_ENCODING, value.parse().expect("value"));
            }
            assert_eq!(choose(&headers, &ALL), expected, "{values:?}");
        }
    }

    #[test]
    fn what_is_not_offered_is_not_given() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT_ENCODING, "zstd, br;q=0.9, gzip;q=0.9".parse().expect("value"));
        assert_eq!(choose(&headers, &[Coding::Gzip, Coding::Br]), Some(Coding::Gzip));
        assert_eq!(choose(&headers, &[]), None);
    }
}
