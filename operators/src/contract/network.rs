//! A contraction of any number of operands.

use bireme_engine::error::{Error, Result};

use super::element::{Element, Epilogue};
use super::order::order;
use super::pair::{check_output, contract_one, contract_pair};
use super::{Einsum, View};

/// `out = alpha · einsum(operands) + beta · out`, on the rayon pool that it is called in.
///
/// `out` is the row-major array of the output's shape. An MTTKRP of floats is one kernel; other contractions of more than two
/// operands are products of two in the order of [`order`], with a buffer for each intermediate result.
///
/// ```
/// use bireme_operators::contract::{Einsum, Epilogue, View, contract};
///
/// let a = [1_i64, 2, 3, 4];
/// let mut trace = [0];
/// contract(&Einsum::parse("ii->")?, &[View::contiguous(&a, &[2, 2])?], Epilogue::REPLACE, &mut trace)?;
/// assert_eq!(trace, [5]);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
///
/// # Errors
///
/// A user's error if shapes do not fit, `out` has not as many elements as the output's shape, or a sum of integers does not fit
/// its type; out of resources if an intermediate result cannot be allocated.
///
/// Source: see [`order`] and [`contract_pair`].
pub fn contract<T: Element>(
    einsum: &Einsum,
    operands: &[View<'_, T>],
    epilogue: Epilogue<T>,
    out: &mut [T],
) -> Result<()> {
    let shapes: Vec<&[usize]> = operands.iter().map(View::shape).collect();
    check_output(einsum, &shapes, out.len())?;
    match operands {
        [one] => return contract_one(einsum, one, epilogue, out),
        [left, right] => return contract_pair(einsum, left, right, epilogue, out),
        _ => {}
    }
    if T::mttkrp(einsum, operands, epilogue, out) {
        return Ok(());
    }
    let extents = einsum.extents(&shapes)?;
    let steps = order(einsum, &extents)?.steps;
    let mut made: Vec<(Vec<T>, Vec<usize>)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let [left, right] = step.operands;
        let operand = |at: usize| match at.checked_sub(operands.len()) {
            None => Ok(operands[at].clone()),
            Some(earlier) => View::contiguous(&made[earlier].0, &made[earlier].1),
        };
        if number + 1 == steps.len() {
            return contract_pair(&step.einsum, &operand(left)?, &operand(right)?, epilogue, out);
        }
        let shape = extents.shape(step.einsum.output());
        let mut result = zeros(extents.elements(step.einsum.output())?)?;
        contract_pair(&step.einsum, &operand(left)?, &operand(right)?, Epilogue::REPLACE, &mut result)?;
        for used in step.operands {
            // What has been used is of no use any more.
            if let Some(earlier) = used.checked_sub(operands.len()) {
                made[earlier].0 = Vec::new();
            }
        }
        made.push((result, shape));
    }
    Err(Error::internal(format!("einsum \"{einsum}\" has no steps")))
}

fn zeros<T: Element>(elements: usize) -> Result<Vec<T>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(elements).map_err(|cause| {
        Error::resources(format!("an intermediate result of {elements} elements cannot be allocated: {cause}"))
    })?;
    buffer.resize(elements, T::ZERO);
    Ok(buffer)
}
