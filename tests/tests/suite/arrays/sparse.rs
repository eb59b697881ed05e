//! Sparse arrays against dense ones of the same elements, on one rank and cut over several.

use bireme::prelude::*;

use super::cut_over;

fn sessions() -> [Session; 3] {
    [Session::builder().threads(2).build().unwrap(), cut_over(3, 1), cut_over(5, 64)]
}

/// Small whole numbers, most of them 0: exact in any order.
fn mostly_zero(session: &Session, shape: impl Into<Vec<usize>>, seed: u64) -> Array<f64> {
    let all = session.random_integers(shape, -20, 21, seed);
    where_(&all.gt(13), &all, session.full([], 0)).astype::<f64>()
}

#[test]
fn products_are_those_of_dense_arrays() {
    for session in sessions() {
        let dense = mostly_zero(&session, [61, 37], 1);
        let sparse = dense.to_sparse().unwrap();
        assert_eq!(
            (sparse.shape(), sparse.to_array().unwrap().to_vec().unwrap()),
            (&[61, 37][..], dense.to_vec().unwrap())
        );
        let same = |made: Array<f64>, expected: Array<f64>| {
            assert_eq!(made.shape(), expected.shape());
            assert_eq!(made.to_vec().unwrap(), expected.to_vec().unwrap());
        };
        let x = session.random_integers([37], -9, 9, 2).astype::<f64>();
        let b = session.random_integers([37, 11], -9, 9, 3).astype::<f64>();
        same(sparse.dot(&x).unwrap(), dense.dot(&x).unwrap());
        same(sparse.dot(&b).unwrap(), dense.dot(&b).unwrap());
        // Lazily, amid other work.
        same(sparse.dot(&(&x * 2.0 + 1.0)).unwrap() * 3.0 - 1.0, dense.dot(&(&x * 2.0 + 1.0)).unwrap() * 3.0 - 1.0);
        // By columns: each rank has a summand.
        let y = session.random_integers([61], -9, 9, 4).astype::<f64>();
        same(sparse.einsum("ij,i->j", [&y]).unwrap(), einsum("ij,i->j", [&dense, &y]).unwrap());
        same(sparse.einsum("ij->j", []).unwrap(), dense.sum_axis(0));
        let turned = sparse.transpose().unwrap();
        same(turned.to_array().unwrap(), dense.t());
        let square = sparse.matmul(&turned).unwrap();
        same(square.to_array().unwrap(), dense.dot(&dense.t()).unwrap());
        let other = session.random_integers([61, 37], -9, 9, 5).astype::<f64>();
        same(sparse.multiply(&other).unwrap().to_array().unwrap(), &dense * &other);
        let (left, right) = (session.random_integers([61, 6], -4, 5, 6).astype::<f64>(), b.t().slice(":6, :").unwrap());
        same(sparse.sampled(&left, &right).unwrap().to_array().unwrap(), &dense * &left.dot(&right).unwrap());
    }
}

#[test]
fn tensors_of_three_axes() {
    for session in sessions() {
        let dense = mostly_zero(&session, [9, 13, 7], 7);
        let sparse = dense.to_sparse().unwrap();
        let b = session.random_integers([13, 4], -4, 5, 8).astype::<f64>();
        let c = session.random_integers([7, 4], -4, 5, 9).astype::<f64>();
        let a = session.random_integers([9, 4], -4, 5, 10).astype::<f64>();
        for (text, factors) in [("ijk,jr,kr->ir", [&b, &c]), ("ijk,ir,kr->jr", [&a, &c]), ("ijk,ir,jr->kr", [&a, &b])] {
            let slow = einsum(text, [&dense, factors[0], factors[1]]).unwrap();
            assert_eq!(sparse.einsum(text, factors).unwrap().to_vec().unwrap(), slow.to_vec().unwrap(), "{text}");
        }
    }
}

/// A solver whose matrix is sparse: what it makes stays with the matrix's rows.
#[test]
fn conjugate_gradients_on_a_sparse_matrix() {
    let solve = |session: &Session| {
        let n = 400_u32;
        let (mut rows, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..n {
            for (column, value) in [(row.wrapping_sub(1), -1.0), (row, 2.5), (row + 1, -1.0)] {
                if column < n {
                    rows.push(row);
                    columns.push(column);
                    values.push(value);
                }
            }
        }
        let a = session.sparse::<f64>([400, 400], vec![rows, columns], values).unwrap();
        let b = session.random::<f64>([400], 11);
        let mut x = Array::zeros_like(&b);
        let mut r = &b - a.dot(&x).unwrap();
        let mut p = r.clone();
        let mut before = r.dot(&r).unwrap();
        for _ in 0..100 {
            let ap = a.dot(&p).unwrap();
            let alpha = &before / p.dot(&ap).unwrap();
            x = x + &alpha * &p;
            r = r - &alpha * &ap;
            let now = r.dot(&r).unwrap();
            if now.sqrt().item().unwrap() < 1e-10 {
                break;
            }
            p = &r + (&now / &before) * &p;
            before = now;
        }
        (&b - a.dot(&x).unwrap()).abs().max().item().unwrap()
    };
    for session in sessions() {
        let residual = solve(&session);
        assert!(residual < 1e-9, "{residual}");
    }
}

#[test]
fn tables_and_mistakes() {
    for session in sessions() {
        let entries = "(VALUES (0, 1, 2.5), (2, 0, 4.0), (2, 0, 1.0)) AS t(i, k, v)";
        let rows = session.sql(&format!("SELECT * FROM {entries}")).unwrap();
        let sparse = rows.to_sparse::<f64>(["i", "k"], "v", [3, 2]).unwrap();
        assert_eq!(
            (sparse.entries(), sparse.to_array().unwrap().to_vec().unwrap()),
            (2, vec![0.0, 2.5, 0.0, 0.0, 5.0, 0.0])
        );
        let table = sparse.to_dataframe(["i", "k"], "v").unwrap();
        session.register_view("s", &table).unwrap();
        let sum = session.sql("SELECT count(*) AS n, sum(v * (10 * i + k)) AS s FROM s").unwrap().collect().unwrap();
        let column = sum[0].column(1).as_any().downcast_ref::<arrow::array::Float64Array>().unwrap();
        assert_eq!(column.value(0), 2.5 + 100.0);

        let x = session.ones::<f64>([3]);
        let error = |made: Result<String>| made.unwrap_err().to_string();
        let shown = |array: Array<f64>| format!("{array:?}");
        assert!(error(sparse.dot(&x).map(shown)).contains("[3, 2] and an array of shape [3]"));
        assert!(error(sparse.matmul(&sparse).map(|made| format!("{made:?}"))).contains("do not fit"));
        assert!(error(sparse.einsum("ij,j->ij", [&session.ones::<f64>([2])]).map(shown)).contains("multiply"));
        assert!(session.sparse::<f64>([2, 2], vec![vec![2], vec![0]], vec![1.0]).is_err());
        assert!(session.sparse::<f64>([2, 2], vec![vec![1]], vec![1.0]).is_err());
        assert!(session.sparse::<i64>([2], vec![vec![1, 1]], vec![i64::MAX, 1]).is_err());
        assert!(rows.to_sparse::<f64>(["i", "k"], "v", [2, 2]).unwrap_err().to_string().contains("index 2"));
        let wide = session.sparse::<i64>([2], vec![vec![0, 1]], vec![i64::MAX, 1]).unwrap();
        assert!(wide.einsum("i->", []).unwrap().item().unwrap_err().to_string().contains("fit"));
        let none = session.sparse::<f32>([4, 3], vec![vec![], vec![]], vec![]).unwrap();
        assert_eq!(none.dot(&session.ones::<f32>([3])).unwrap().to_vec().unwrap(), [0.0; 4]);
    }
}
