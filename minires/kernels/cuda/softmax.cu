// Softmax and cross-entropy: teams of threads, each with a row of C numbers at a time.
//
// (REAL and int64 come from real.cuh, which the launcher puts in front of every source.)
//
// A team has 1, 32 or all threads of a block (`members`); the binding chooses by the shape.  Member
// m of a team treats the numbers m, m + members, ... of its row, and team t of T treats the rows t,
// t + T, ...  The members find the row's maximum together, then its sum of exponentials, and then
// each writes its numbers.  So a row is read three times, but from memory only once: the second and
// third time it is in a cache, unless rows have tens of thousands of numbers.

struct Team {
    int64 members;
    int64 me;    // which member this thread is
    int64 row;   // the first row of the team
    int64 step;  // from one row of the team to its next: the number of teams
};

__device__ Team team_of(int64 members) {
    const int64 teams = blockDim.x / members;  // of this block
    return {members, threadIdx.x % members, blockIdx.x * teams + threadIdx.x / members,
            gridDim.x * teams};
}

// The members' values joined (the largest, the sum), given to every member.  Lanes of a warp
// exchange registers with the lane 16, 8, 4, 2, 1 places away, after which all have the same; the
// warps of a block leave theirs in shared memory, and each thread joins these in the same order.
template <class Join>
__device__ REAL over_team(const Team& team, REAL value, REAL* across, Join join) {
    if (team.members == 1) return value;
    for (int away = 16; away > 0; away /= 2)
        value = join(value, __shfl_xor_sync(0xffffffffu, value, away));
    if (team.members == 32) return value;
    if (threadIdx.x % 32 == 0) across[threadIdx.x / 32] = value;
    __syncthreads();
    value = across[0];
    for (int warp = 1; warp < (int)blockDim.x / 32; warp++) value = join(value, across[warp]);
    __syncthreads();  // nobody writes `across` again before all have read it
    return value;
}

// The maximum of the numbers row[0], row[step], row[2 * step], ..., of which there is at least one.
// fmax passes over NaN; that is no loss, since the sum of exponentials is NaN then.
__device__ REAL maximum(const Team& team, const REAL* row, int64 C, int64 step, REAL* across) {
    REAL most = row[0];
    for (int64 c = team.me; c < C; c += team.members) most = fmax(most, row[c * step]);
    return over_team(team, most, across, [](REAL a, REAL b) { return fmax(a, b); });
}

// The sum of e^(x - most) over the same numbers.
__device__ REAL total(const Team& team, const REAL* row, int64 C, int64 step, REAL most,
                      REAL* across) {
    REAL sum = 0;
    for (int64 c = team.me; c < C; c += team.members) sum += exp(row[c * step] - most);
    return over_team(team, sum, across, [](REAL a, REAL b) { return a + b; });
}

// x and out are (rows / inner, C, inner), and row r is the numbers (r / inner, :, r % inner).  A
// team of one thread is for a large inner: neighbouring threads then read neighbouring numbers.
extern "C" __global__ void softmax(const REAL* x, REAL* out, int64 rows, int64 C, int64 inner,
                                   int64 members, int64 logarithm) {
    __shared__ REAL across[32];
    const Team team = team_of(members);
    for (int64 row = team.row; row < rows; row += team.step) {
        const int64 first = row / inner * C * inner + row % inner;
        const REAL most = maximum(team, x + first, C, inner, across);
        const REAL sum = total(team, x + first, C, inner, most, across);
        const REAL log_sum = logarithm ? log(sum) : (REAL)0;
        for (int64 c = team.me; c < C; c += members) {
            const int64 place = first + c * inner;
            const REAL shifted = x[place] - most;
            out[place] = logarithm ? shifted - log_sum : exp(shifted) / sum;
        }
    }
}

// One loss a row of logits (N, C): 0 where the target is `ignored`, and NaN for a class that is not
// there.  Neither row is read: the target is the same for the whole team, so that all of it comes
// to the barriers or none does.
extern "C" __global__ void cross_entropy(const REAL* logits, const int64* target, REAL* losses,
                                         int64 N, int64 C, int64 members, int64 ignored) {
    __shared__ REAL across[32];
    const Team team = team_of(members);
    for (int64 n = team.row; n < N; n += team.step) {
        const int64 right = target[n];
        REAL loss = right == ignored ? (REAL)0 : not_a_number();
        if (right != ignored && right >= 0 && right < C) {
            const REAL* row = logits + n * C;
            const REAL most = maximum(team, row, C, 1, across);
            loss = log(total(team, row, C, 1, most, across)) - (row[right] - most);
        }
        if (team.me == 0) losses[n] = loss;
    }
}

// The probabilities, less 1 at the true class, times the gradient of the row's loss; a whole row of
// 0 where the target is `ignored`, and of NaN for a class that is not there.
extern "C" __global__ void cross_entropy_grad(const REAL* grad_losses, const REAL* logits,
                                              const int64* target, REAL* grad_logits, int64 N,
                                              int64 C, int64 members, int64 ignored) {
    __shared__ REAL across[32];
    const Team team = team_of(members);
    for (int64 n = team.row; n < N; n += team.step) {
        const REAL* row = logits + n * C;
        REAL* grad_row = grad_logits + n * C;
        const int64 right = target[n];
        if (right != ignored && right >= 0 && right < C) {
            const REAL grad = grad_losses[n];
            const REAL most = maximum(team, row, C, 1, across);
            const REAL sum = total(team, row, C, 1, most, across);
            for (int64 c = team.me; c < C; c += members)
                grad_row[c] = (exp(row[c] - most) / sum - (REAL)(c == right)) * grad;
        } else {
            const REAL same = right == ignored ? (REAL)0 : not_a_number();
            for (int64 c = team.me; c < C; c += members) grad_row[c] = same;
        }
    }
}
