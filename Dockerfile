# An image with Stepmark for docker and kubernetes work pools, built without the network from a
# wheelhouse. Make the wheelhouse on a machine of the same platform that has the network:
#
#   pip wheel --wheel-dir wheels --constraint requirements/core.lock .
#   docker build --network none --tag stepmark .
#
# The base image must be present: docker pull python:3.11-slim, or docker load.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE}

WORKDIR /app
COPY wheels/ /wheels/
RUN python -m pip install --no-cache-dir --no-index --find-links /wheels stepmark \
    && rm -r /wheels

# A run writes into /app/data, where a volume belongs, or to the URI of a bucket.
RUN useradd --create-home --home-dir /home/stepmark stepmark \
    && mkdir /app/data \
    && chown stepmark /app/data
USER stepmark

ENV DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    OPENBLAS_NUM_THREADS=1

# The workers of a pool replace this command. Without one, the image is the command line.
CMD ["stepmark", "--help"]
