//! A path as a word of a unit, and as text of a property list.

use std::path::Path;

/// The path of a program as the first word of `ExecStart=`.
///
/// systemd splits at spaces, replaces `%` specifiers and, in the argument that the program sees as its name, `$`
/// variables, which a `:` in front turns off. A path that it runs in no notation is refused.
///
/// # Errors
/// Words, naming what the path has.
pub(super) fn exec_word(path: &Path) -> Result<String, String> {
    let text = plain(path)?;
    if let Some(bad) = text.chars().find(|c| matches!(c, '"' | '\'' | '\\')) {
        return Err(refused(path, &format!("systemd runs no program with {bad} in its path")));
    }
    let plain = |c: char| c.is_alphanumeric() || "/._-+,@=~^#".contains(c);
    if text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    let colon = if text.contains('$') { ":" } else { "" };
    Ok(format!("\"{colon}{}\"", text.replace('%', "%%")))
}

/// Text of an XML element.
///
/// # Errors
/// Words, for what no XML can say.
pub(super) fn xml_text(path: &Path) -> Result<String, String> {
    let text = plain(path)?;
    Ok(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

/// Neither file takes anything else.
fn plain(path: &Path) -> Result<&str, String> {
    let text =
        path.to_str().ok_or_else(|| refused(path, "a path that is not UTF-8 can't be written there"))?;
    match text.chars().find(|c| c.is_control()) {
        Some(bad) => Err(refused(path, &format!("a path with {bad:?} can't be written there"))),
        None => Ok(text),
    }
}

fn refused(path: &Path, why: &str) -> String {
    format!(
        "{}: {why}; move the program, to /usr/local/bin for one, or name another with --binary",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_word_is_quoted_as_systemd_reads_it() {
        for (path, word) in [
            ("/usr/bin/larder", "/usr/bin/larder"),
            ("/opt/größe/larder-1.0_x@y", "/opt/größe/larder-1.0_x@y"),
            ("/home/a b/larder", "\"/home/a b/larder\""),
            ("/home/100%/larder", "\"/home/100%%/larder\""),
            ("/home/$x/larder", "\":/home/$x/larder\""),
            ("/home/;#/larder", "\"/home/;#/larder\""),
        ] {
            assert_eq!(exec_word(Path::new(path)).as_deref(), Ok(word), "{path}");
        }
    }

    #[test]
    fn what_no_unit_can_name_is_refused_with_a_remedy() {
        for path in ["/a\"b", "/a'b", "/a\\b", "/a\nb", "/a\u{7f}b"] {
            let words = exec_word(Path::new(path)).expect_err(path);
            assert!(words.contains("--binary"), "{words}");
        }
        let words = exec_word(Path::new(OsStr::from_bytes(b"/a\xffb"))).expect_err("not text");
        assert!(words.contains("UTF-8"), "{words}");
    }

    #[test]
    fn a_property_list_takes_quotes_but_no_markup() {
        assert_eq!(xml_text(Path::new("/a & <b>/\"c'")).as_deref(), Ok("/a &amp; &lt;b&gt;/\"c'"));
        assert!(xml_text(Path::new("/a\u{1}b")).is_err());
    }
}
