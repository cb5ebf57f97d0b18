# Environment of the scripts that run on a GPU: sourced by them in the root of the repository.
python=${PYTHON:-python3}
if compgen -G ".wheels/*.whl" > /dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target .site .wheels/*.whl || exit
fi
export PYTHONPATH=$PWD/.site:$PWD PYTHONUNBUFFERED=1 NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS=0 OPENBLAS_NUM_THREADS=1
# JAX would take three quarters of the memory of the GPU.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
# NVIDIA's compiler libraries are found in packages of pip, or in a toolkit.
if [ -z "${CUDA_HOME:-}" ] && command -v nvcc > /dev/null; then
    CUDA_HOME=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
    export CUDA_HOME CUDA_PATH=$CUDA_HOME
fi
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || echo "nvidia-smi finds no GPU"
