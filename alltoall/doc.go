// Package alltoall carries rows to the ranks that host their experts, and the answers back.
//
// An [Exchange] binds a transport to a [Placement] of experts. Its Begin announces the rows of a
// [Request] to the ranks and returns a [Handle], which moves them: Dispatch sends rows to their
// experts, Combine sends the answers back, and DispatchBack and Combine move gradients the same
// way, so that counts travel once. A [Cut] divides all that into chunks. What goes where is a
// [Plan], plain data made from counts, which can be printed and compared.
//
// An expert is computed by the rank that hosts it, unless an [Allocation] shares out its rows in
// one exchange: every rank makes it from the [Loads] of all.
//
// An [Algorithm] says through which ranks messages travel; each has a file of its own. Package
// links measures what they cost.
package alltoall
