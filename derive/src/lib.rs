//! `#[derive(Record)]`: a struct as columns of a table, a column a field.
//!
//! ```text
//!   struct Visit { page: String, seconds: Option<u32> }   ──►   page: Utf8, seconds: UInt32 (nullable)
//! ```
//!
//! `#[record(rename = "name")]` on a field gives its column another name. The code that is made names `bireme::dataset` only.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Field, Fields, LitStr, parse_macro_input, parse_quote};

/// Makes a struct a record: see `bireme::Record`.
#[proc_macro_derive(Record, attributes(record))]
pub fn record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    implementation(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn implementation(input: &DeriveInput) -> Result<Tokens, Error> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "only a struct can be a record: its fields are the columns"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "a record's fields have names, which are those of its columns; tuples are records without a derive",
        ));
    };
    if fields.named.is_empty() {
        return Err(Error::new_spanned(&input.ident, "a record has a field at least: a table has a column"));
    }
    let columns = fields.named.iter().map(column_name).collect::<Result<Vec<_>, Error>>()?;
    if let Some(twice) = columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name)) {
        return Err(Error::new_spanned(&input.ident, format!("two fields are the column `{}`", twice.1)));
    }
    let names = fields.named.iter().filter_map(|field| field.ident.clone()).collect::<Vec<_>>();
    let types = fields.named.iter().map(|field| field.ty.clone()).collect::<Vec<_>>();
    let (ident, visibility) = (&input.ident, &input.vis);
    let (builder, reader) = (format_ident!("__Bireme{ident}Builder"), format_ident!("__Bireme{ident}Columns"));
    let mut generics = input.generics.clone();
    for parameter in input.generics.type_params() {
        let parameter = &parameter.ident;
        generics.make_where_clause().predicates.push(parse_quote!(#parameter: ::bireme::dataset::Record));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        const _: () = {
            use ::bireme::dataset::Record as _BiremeRecord;

            #[allow(non_camel_case_types)]
            #visibility struct #builder #impl_generics #where_clause {
                #(#names: <#types as _BiremeRecord>::Builder,)*
            }

            #[allow(non_camel_case_types)]
            #visibility struct #reader #impl_generics #where_clause {
                #(#names: <#types as _BiremeRecord>::Column,)*
            }

            impl #impl_generics ::core::default::Default for #builder #type_generics #where_clause {
                fn default() -> Self {
                    Self { #(#names: ::core::default::Default::default(),)* }
                }
            }

            impl #impl_generics _BiremeRecord for #ident #type_generics #where_clause {
                type Builder = #builder #type_generics;
                type Column = #reader #type_generics;

                fn data_type() -> ::bireme::dataset::support::DataType {
                    ::bireme::dataset::support::DataType::Struct(::bireme::dataset::support::Fields::from(::std::vec![#(::bireme::dataset::support::field::<#types>(#columns),)*]))
                }

                fn put(&self, builder: &mut Self::Builder) {
                    #(_BiremeRecord::put(&self.#names, &mut builder.#names);)*
                }

                fn put_nothing(builder: &mut Self::Builder) {
                    #(<#types as _BiremeRecord>::put_nothing(&mut builder.#names);)*
                }

                fn finish(builder: &mut Self::Builder) -> ::bireme::dataset::support::ArrayRef {
                    ::bireme::dataset::support::structure(
                        <Self as _BiremeRecord>::data_type(),
                        ::std::vec![#(<#types as _BiremeRecord>::finish(&mut builder.#names),)*],
                    )
                }

                fn column(name: &str, array: &::bireme::dataset::support::ArrayRef) -> ::bireme::dataset::support::Result<Self::Column> {
                    let fields = ::bireme::dataset::support::struct_column(name, array)?;
                    Ok(#reader { #(#names: ::bireme::dataset::support::field_column::<#types>(fields, #columns)?,)* })
                }

                fn get(column: &Self::Column, row: usize) -> Self {
                    Self { #(#names: <#types as _BiremeRecord>::get(&column.#names, row),)* }
                }

                fn heap_bytes(&self) -> usize {
                    0 #(+ _BiremeRecord::heap_bytes(&self.#names))*
                }

                fn detached(self) -> Self {
                    Self { #(#names: _BiremeRecord::detached(self.#names),)* }
                }
            }
        };
    })
}

/// The name of a field's column.
fn column_name(field: &Field) -> Result<String, Error> {
    let mut name = field.ident.as_ref().map(|ident| ident.to_string()).unwrap_or_default();
    if let Some(raw) = name.strip_prefix("r#") {
        name = raw.to_owned();
    }
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("record")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("rename") {
                return Err(meta.error("expected `rename = \"name\"`"));
            }
            name = meta.value()?.parse::<LitStr>()?.value();
            Ok(())
        })?;
    }
    Ok(name)
}
