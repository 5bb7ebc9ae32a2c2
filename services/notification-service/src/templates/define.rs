//! Defines mails. The macro binds a struct to its two files, so that a variable that a file names and the
//! struct lacks is a build error; what it makes is the same for every mail.

use super::mail::Entry;

/// Names a template by its type.
pub trait ByTemplate {
    /// Its entry.
    fn entry() -> &'static Entry;
}

/// Defines the struct of a mail, binds its two files and describes it.
macro_rules! mail {
    (
        $(#[$doc:meta])*
        $name:ident {
            name: $word:literal, category: $category:ident, html: $html:tt, text: $text:tt,
            subject: |$mail:ident, $page:ident| $subject:expr,
            $($(#[$field_meta:meta])* $field:ident: $type:ty = $sample:expr),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        const _: () = {
            #[derive(Template)]
            #[template(path = $html)]
            struct Html<'a> {
                mail: &'a $name,
                to: &'a Recipient,
                page: &'a Page,
            }

            #[derive(Template)]
            #[template(path = $text)]
            struct Text<'a> {
                mail: &'a $name,
                to: &'a Recipient,
                page: &'a Page,
            }

            static ENTRY: Entry = Entry::of::<$name>();

            impl ByTemplate for $name {
                fn entry() -> &'static Entry {
                    &ENTRY
                }
            }

            impl Mail for $name {
                const NAME: &'static str = $word;
                const CATEGORY: Category = Category::$category;
                const VARIABLES: &'static [&'static str] = &[$(stringify!($field)),*];

                fn sample() -> Self {
                    Self { $($field: $sample),* }
                }

                fn subject(&self, $page: &Page) -> String {
                    let $mail = self;
                    $subject
                }

                fn html(&self, to: &Recipient, page: &Page) -> askama::Result<String> {
                    Html { mail: self, to, page }.render()
                }

                fn text(&self, to: &Recipient, page: &Page) -> askama::Result<String> {
                    Text { mail: self, to, page }.render()
                }
            }
        };
    };
}
