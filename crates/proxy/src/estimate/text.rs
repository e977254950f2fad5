//! Tokens of text, without a tokenizer.
//!
//! Tokenizers have tokens for common words and for common parts of words, so that prose has four to five characters per
//! token; digits, punctuation and random letters have one or two. So each word begins a token, each digit and each sign is
//! one, and the other letters weigh little in prose and much in anything else. Prose is known by its mixture of vowels and
//! consonants.
//!
//! The weights are those with which no kind of text counts less than by the published tokenizer of Claude 2, and prose and
//! code one and a half times as much.

/// Generation of a model's tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// Claude up to 4.6.
    Classic,
    /// Newer Claude models, and all other models.
    Dense,
}

/// Bytes whose counts fit one byte, so that counting is vectorized.
const CHUNK_BYTES: usize = u8::MAX as usize;
/// Weights are in eighths of a token.
const TOKEN: u64 = 8;
/// A space goes with the word behind it; a long run of spaces has more than eight per token.
const SPACE: u64 = 1;
/// A letter in a word of prose, behind the first one.
const PROSE_LETTER: u64 = 1;
/// The same elsewhere, behind a letter of the other kind, vowel or consonant, and of its own kind.
const ALTERNATING_LETTER: u64 = 3;
const CLUSTERED_LETTER: u64 = 5;
/// Part of the letters that stand behind a letter of their own kind in prose, in hundredths. Of random letters it is 65.
const PROSE_CLUSTERED_PERCENT: std::ops::RangeInclusive<u64> = 10..=55;
/// What a capital letter inside of a word weighs more.
const CAPITAL: u64 = 1;
/// Letters per word beyond which a text is no prose; then each letter weighs [`LONG_RUN_LETTER`].
const MAX_WORD_LETTERS: u64 = 12;
const LONG_RUN_LETTER: u64 = 5;
/// Characters of two bytes in UTF-8: accented letters, Greek, Hebrew, Arabic; Cyrillic; combining marks.
const TWO_BYTES: u64 = 12;
const CYRILLIC: u64 = 8;
const COMBINING: u64 = 16;
/// Characters of three bytes: signs and rare scripts; those of India and Thai; Chinese and Japanese, with rare ones; Korean.
const THREE_BYTES: u64 = 24;
const INDIC: u64 = 20;
const CHINESE: u64 = 17;
const RARE_CHINESE: u64 = 24;
const KOREAN: u64 = 21;
/// A character of four bytes: emoji, rare scripts.
const FOUR_BYTES: u64 = 28;

impl Tokenizer {
    /// Tokenizer of a foundation-model id.
    #[must_use]
    pub(crate) fn for_model(id: &str) -> Self {
        const NEWER: [&str; 2] = ["fable", "mythos"];
        let Some((_, name)) = id.split_once("anthropic.claude-") else { return Self::Dense };
        let mut numbers = name.split(['-', '.', ':']).filter_map(|part| part.parse::<u32>().ok());
        let (major, minor) = (numbers.next(), numbers.next().filter(|minor| *minor < 100).unwrap_or(0));
        let classic = major.is_some_and(|major| (major, minor) <= (4, 6));
        if classic && !NEWER.iter().any(|line| name.starts_with(line)) { Self::Classic } else { Self::Dense }
    }

    /// Maximum tokens of an image.
    pub(super) fn image_tokens(self) -> u64 {
        match self {
            Self::Classic => 1600,
            Self::Dense => 4800,
        }
    }

    /// Tokens of `text`, at most one per byte.
    pub(super) fn text(self, text: &str) -> u64 {
        self.bytes(text.as_bytes())
    }

    /// Tokens of a text in UTF-8.
    pub(super) fn bytes(self, text: &[u8]) -> u64 {
        let mut eighths = 0;
        let mut before = b' ';
        for chunk in text.chunks(CHUNK_BYTES) {
            eighths += weight(chunk, before);
            before = chunk.last().copied().unwrap_or(before);
        }
        self.tokens(eighths).min(text.len() as u64)
    }

    /// Tokens of a JSON text. A quote goes with the sign beside it, and an escaped character is one.
    pub(super) fn json(self, json: &str) -> u64 {
        let bytes = json.as_bytes();
        let quotes = count(bytes, |byte| byte == b'"');
        // `\u00e9` weighs six: a backslash, a letter and four digits.
        let escapes = if memchr::memmem::find(bytes, b"\\u").is_some() { unicode_escapes(bytes) } else { 0 };
        self.text(json).saturating_sub(quotes / 2 + 4 * escapes)
    }

    fn tokens(self, eighths: u64) -> u64 {
        match self {
            Self::Classic => eighths.div_ceil(TOKEN),
            // Anthropic names up to 1.35 times as many tokens.
            Self::Dense => (eighths * 11).div_ceil(TOKEN * 8),
        }
    }
}

/// Weight of a chunk, in eighths of a token; `before` is the byte before it.
fn weight(chunk: &[u8], before: u8) -> u64 {
    let is_letter = |byte: u8| (byte | 0x20).wrapping_sub(b'a') < 26;
    let is_capital = |byte: u8| byte.wrapping_sub(b'A') < 26;
    let is_vowel = |byte: u8| {
        let byte = byte | 0x20;
        byte == b'a' || byte == b'e' || byte == b'i' || byte == b'o' || byte == b'u'
    };
    // A word begins at a letter behind something else, and where capitals begin or end: `getUserName`.
    let begins = |before: u8, byte: u8| {
        is_letter(byte) & (!is_letter(before) | (is_capital(byte) ^ is_capital(before)))
    };
    let follows = |before: u8, byte: u8| is_letter(byte) & !begins(before, byte);
    let letters = count(chunk, is_letter);
    let words = count_pairs(chunk, before, begins);
    let clustered = count_pairs(chunk, before, |before, byte| {
        follows(before, byte) & (is_vowel(before) == is_vowel(byte))
    });
    let capitals = count_pairs(chunk, before, |before, byte| follows(before, byte) & is_capital(byte));
    let spaces = count(chunk, |byte| byte == b' ');
    let others = chunk.len() as u64 - letters - spaces;
    let following = letters - words;
    let percent = (clustered * 100).checked_div(following);
    let is_prose = percent.is_none_or(|percent| PROSE_CLUSTERED_PERCENT.contains(&percent));
    let mut weight = match is_prose {
        true => following * PROSE_LETTER,
        false => clustered * CLUSTERED_LETTER + (following - clustered) * ALTERNATING_LETTER,
    };
    weight += capitals * CAPITAL;
    if letters > MAX_WORD_LETTERS * (words + others) {
        weight = weight.max(following * LONG_RUN_LETTER);
    }
    let signs = if chunk.is_ascii() { others * TOKEN } else { non_ascii_weight(chunk, before, others) };
    words * TOKEN + weight + spaces * SPACE + signs
}

/// Weight of the bytes of `chunk` that are neither ASCII letters nor spaces, of which there are `others`.
fn non_ascii_weight(chunk: &[u8], before: u8, others: u64) -> u64 {
    let of = |matches: fn(u8) -> bool| count(chunk, matches);
    let ascii = others - of(|byte| !byte.is_ascii());
    let (two, cyrillic) = (of(|byte| byte & 0xe0 == 0xc0), of(|byte| byte & 0xfe == 0xd0));
    let combining = of(|byte| byte & 0xfe == 0xcc);
    let (three, indic) = (of(|byte| byte & 0xf0 == 0xe0), of(|byte| byte == 0xe0));
    let (chinese, korean) =
        (of(|byte| (0xe3..=0xe9).contains(&byte)), of(|byte| (0xea..=0xed).contains(&byte)));
    // U+3400 to U+4DBF.
    let rare = count_pairs(chunk, before, |before, byte| {
        ((before == 0xe3) & (0x90..0xc0).contains(&byte)) | ((before == 0xe4) & (0x80..0xb8).contains(&byte))
    });
    let four = of(|byte| byte & 0xf8 == 0xf0);
    ascii * TOKEN
        + (two - cyrillic - combining) * TWO_BYTES
        + cyrillic * CYRILLIC
        + combining * COMBINING
        + (three - indic - chinese - korean) * THREE_BYTES
        + indic * INDIC
        + chinese * CHINESE
        + rare * (RARE_CHINESE - CHINESE)
        + korean * KOREAN
        + four * FOUR_BYTES
}

/// Number of bytes that match.
fn count(bytes: &[u8], matches: impl Fn(u8) -> bool) -> u64 {
    let chunks = bytes.chunks(CHUNK_BYTES);
    chunks.map(|chunk| u64::from(chunk.iter().map(|byte| u8::from(matches(*byte))).sum::<u8>())).sum()
}

/// Number of bytes of a chunk that match, each with the byte before it.
fn count_pairs(chunk: &[u8], before: u8, matches: impl Fn(u8, u8) -> bool) -> u64 {
    let Some((first, rest)) = chunk.split_first() else { return 0 };
    let pairs = chunk.iter().zip(rest).map(|(before, byte)| u8::from(matches(*before, *byte))).sum::<u8>();
    u64::from(pairs) + u64::from(matches(before, *first))
}

/// Number of `\u` escapes in a JSON text.
fn unicode_escapes(json: &[u8]) -> u64 {
    let (mut escapes, mut at) = (0, 0);
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += found + 2;
        escapes += u64::from(json.get(at - 1) == Some(&b'u'));
    }
    escapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokenizer_follows_the_model_generation() {
        for id in [
            "anthropic.claude-3-haiku-20240307-v1:0",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "anthropic.claude-opus-4-6-v1",
            "anthropic.claude-haiku-4-5-20251001-v1:0",
        ] {
            assert_eq!(Tokenizer::for_model(id), Tokenizer::Classic, "{id}");
        }
        for id in [
            "anthropic.claude-opus-4-7",
            "anthropic.claude-fable-5",
            "anthropic.claude-mythos-preview",
            "amazon.nova-pro-v1:0",
            "arn:x",
        ] {
            assert_eq!(Tokenizer::for_model(id), Tokenizer::Dense, "{id}");
        }
    }

    /// Random numbers that are the same in each run.
    fn numbers() -> impl Iterator<Item = usize> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        std::iter::from_fn(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            Some((state >> 33) as usize)
        })
    }

    fn random(alphabet: &str) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        numbers().map(|number| letters[number % letters.len()]).take(10_000).collect()
    }

    fn words(alphabet: &str, length: usize) -> String {
        let letters = random(alphabet);
        letters.as_bytes().chunks(length).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
    }

    /// Tokens of 10,000 characters by the published tokenizer of Claude 2; of digits and signs, one each.
    #[test]
    fn dense_text_is_not_underestimated() {
        const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
        let base64 = format!("{UPPER}{LOWER}0123456789+/");
        let base64_lines = words(&base64, 76).replace(' ', "\n");
        for (name, text, tokens) in [
            ("digits and signs", "1!2@3#4$5%".repeat(1_000), 10_000),
            ("digits", random("0123456789"), 10_000),
            ("signs", random("!@#$%^&*()_+-=[]{}|;':,./<>?"), 10_000),
            ("base64", random(&base64), 7_100),
            ("base64 in lines", base64_lines, 7_100),
            ("hexadecimal", random("0123456789abcdef"), 5_900),
            ("hexadecimal in capitals", random("0123456789ABCDEF"), 5_900),
            ("UUIDs", random("0123456789abcdef-"), 6_800),
            ("letters", random(LOWER), 5_300),
            ("capitals", random(UPPER), 5_800),
            ("letters of both cases", random(&base64[..52]), 6_400),
            ("DNA", random("ACGT"), 4_300),
            ("vowels", random("aeiou"), 5_400),
            ("letters between blanks", "a b c d e ".repeat(1_000), 5_001),
            ("random words", words(LOWER, 5), 5_000),
            ("short random words", words(LOWER, 3), 4_300),
            ("tabs and blanks", " \t".repeat(5_000), 5_000),
            ("minified JSON", r#"{"id":17,"ok":true,"x":[1,2]},"#.repeat(334), 5_000),
            ("CSV", "17,4.5,2024-01-02,ab\n".repeat(477), 7_155),
            ("Chinese", "漢字仮名交文".repeat(1_667), 15_000),
            ("rare characters", "𠀀𠀁".repeat(5_000), 30_000),
            ("emoji", "😀🎉👍🏽".repeat(2_500), 25_000),
            ("Hebrew", "שלום עולם ".repeat(1_000), 10_001),
            ("Arabic", "مرحبا بالعالم ".repeat(715), 7_150),
            ("Greek", random("αβγδεζηθικλμνξοπρστυφχψω"), 13_300),
            ("Hindi", "नमस्ते दुनिया ".repeat(715), 11_450),
            ("Thai", "สวัสดีชาวโลก".repeat(834), 18_350),
            ("arrows", random("←↑→↓↔↕↖↗↘↙⇐⇑⇒⇓"), 25_600),
            ("accents", random("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏàáâãäåæç"), 13_700),
        ] {
            let estimate = Tokenizer::Classic.text(&text);
            assert!(estimate >= tokens, "{name}: {estimate}");
            assert!(Tokenizer::Dense.text(&text) >= estimate && estimate <= text.len() as u64, "{name}");
        }
    }

    /// With the tokens by the published tokenizer of Claude 2. Those of newer models have more for the same text.
    #[test]
    fn ordinary_text_is_not_overestimated_by_far() {
        const ENGLISH: &str = "A limit is met to the token only if an estimate is not less than what a request costs. When \
            the response has ended, the reservation is settled with the usage that Bedrock reports, and the rest of it is \
            released for other requests of the same user.";
        const SPANISH: &str = "El límite se cumple con exactitud sólo si la estimación no es menor que lo que cuesta la \
            petición. Cuando termina la respuesta, la reserva se liquida con el uso que comunica Bedrock, y el resto \
            queda libre para otras peticiones.";
        const GERMAN: &str = "Ein Limit wird nur dann auf das Token genau eingehalten, wenn die Schätzung nicht kleiner \
            ist als das, was die Anfrage kostet. Wenn die Antwort zu Ende ist, wird die Reservierung abgerechnet.";
        const CODE: &str = "    fn acquire(&self) -> Option<SemaphorePermit<'_>> {\n        if let Ok(permit) = \
            self.workers.try_acquire() {\n            return Some(permit);\n        }\n        let _waiting = \
            self.waiting.try_acquire().ok()?;\n        None\n    }\n";
        const JSON: &str = "{\n  \"name\": \"claude-sonnet-4-5\",\n  \"stream\": true,\n  \"messages\": [],\n  \
            \"max_tokens\": 1024\n}\n";
        const CHINESE: &str =
            "只有当估算值不低于请求的实际成本时,限额才能精确到每个令牌。响应结束后,预留量按实际用量结算。";
        const RUSSIAN: &str =
            "Лимит соблюдается с точностью до токена, только если оценка не меньше стоимости запроса.";
        for (name, text, tokens) in [
            ("English", ENGLISH, 53),
            ("Spanish", SPANISH, 62),
            ("German", GERMAN, 56),
            ("code", CODE, 67),
            ("JSON", JSON, 37),
            ("Chinese", CHINESE, 46),
            ("Russian", RUSSIAN, 38),
        ] {
            let estimate = Tokenizer::Classic.text(text);
            let percent = estimate * 100 / tokens;
            println!("{name}: {estimate} tokens of {} bytes, {percent} % of {tokens}", text.len());
            assert!((100..250).contains(&percent), "{name}: {estimate}, {percent} %");
        }
    }

    #[test]
    fn json_counts_its_text() {
        let tokenizer = Tokenizer::Classic;
        assert_eq!(tokenizer.json(r#"{"a":"b"}"#), 7);
        assert_eq!(tokenizer.json(r#""\u00e9""#), tokenizer.json(r#""""#) + 2);
        assert_eq!(tokenizer.json(r#""\\u00e9""#), tokenizer.text(r#""\\u00e9""#) - 1, "no escape");
        assert!(tokenizer.json(&format!("[{}]", "1234567890,".repeat(100))) > 1_000);
    }

    #[test]
    fn cuts_between_chunks_change_little() {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(100);
        let whole = Tokenizer::Classic.text(&text);
        let parts: u64 = text.as_bytes().chunks(450).map(|part| Tokenizer::Classic.bytes(part)).sum();
        assert!(parts.abs_diff(whole) < whole / 50, "{parts} {whole}");
    }
}
