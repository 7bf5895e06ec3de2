//! Reads the text of the kernel header, as far as its style goes.
//!
//! The reader knows the constructs that the header uses and panics at any other, so that none goes unnoticed.

/// A field of a struct, flexible array members left out.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Its type; that of the elements for an array.
    pub(crate) c_type: String,
}

/// A struct.
#[derive(Debug)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
}

/// What the header defines.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) structs: Vec<Struct>,
    /// Names of all macros, with and without arguments.
    pub(crate) macros: Vec<String>,
    enums: Vec<(String, Vec<String>)>,
}

impl Header {
    pub(crate) fn parse(text: &str) -> Self {
        let mut header = Self::default();
        let text = without_comments(text).replace("\\\n", " ");

        let mut code = String::new();
        for line in text.lines() {
            match line.trim().strip_prefix('#') {
                Some(directive) => header.directive(directive.trim()),
                None => {
                    code.push_str(line);
                    code.push('\n');
                }
            }
        }
        header.declarations(&code);
        header
    }

    /// All enumerators, with the names of their enums.
    pub(crate) fn enumerators(&self) -> impl Iterator<Item = (&str, &String)> {
        self.enums.iter().flat_map(|(group, names)| names.iter().map(move |name| (group.as_str(), name)))
    }

    fn directive(&mut self, directive: &str) {
        let (word, rest) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
        match word {
            "define" => self.macros.push(identifier(rest.trim_start()).to_owned()),
            "ifndef" | "include" | "endif" => {}
            _ => panic!("the reader does not know the directive `#{directive}`"),
        }
    }

    fn declarations(&mut self, code: &str) {
        let mut rest = code.trim();
        while !rest.is_empty() {
            let (head, tail) = rest.split_once('{').unwrap_or_else(|| unknown(rest));
            let (body, tail) = tail.split_once('}').unwrap_or_else(|| unknown(rest));
            let tail = tail.trim_start().strip_prefix(';').unwrap_or_else(|| unknown(rest));
            match head.split_whitespace().collect::<Vec<_>>()[..] {
                ["struct", name] => {
                    self.structs.push(Struct { name: name.to_owned(), fields: fields(body) });
                }
                ["enum", name] => self.enums.push((name.to_owned(), enumerators(body))),
                _ => unknown(rest),
            }
            rest = tail.trim();
        }
    }
}

fn unknown(code: &str) -> ! {
    let line: String = code.lines().take(3).collect::<Vec<_>>().join("\n");
    panic!("the reader does not know the declaration at\n{line}")
}

fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let mut code = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, after) = part.split_once("*/").expect("comments end");
        code.push(' ');
        code.push_str(after);
    }
    assert!(!code.contains("//"), "the reader does not know line comments");
    code
}

/// The identifier that `text` starts with.
fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    assert!(end > 0, "no identifier at `{text}`");
    &text[..end]
}

fn enumerators(body: &str) -> Vec<String> {
    body.split(',').map(str::trim).filter(|e| !e.is_empty()).map(|e| identifier(e).to_owned()).collect()
}

fn fields(body: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    for declaration in body.split(';').map(str::trim).filter(|d| !d.is_empty()) {
        if declaration.contains(['{', '(', ':']) {
            unknown(declaration);
        }
        let mut declarators = declaration.split(',').map(str::trim);
        let first = declarators.next().expect("split gives one part at least");
        let (c_type, name) = first.rsplit_once(char::is_whitespace).unwrap_or_else(|| unknown(declaration));
        let c_type = c_type.split_whitespace().collect::<Vec<_>>().join(" ");
        // The header uses `char` for bytes.
        let c_type = if c_type == "char" { "uint8_t".to_owned() } else { c_type };
        for name in [name].into_iter().chain(declarators).filter(|name| !name.ends_with("[]")) {
            fields.push(Field { name: identifier(name).to_owned(), c_type: c_type.clone() });
        }
    }
    fields
}
