"""MediaPipe Pose (BlazePose GHUM "full", the model that its package carries): one person, 33 landmarks, its own 3D."""

import harness


def start(threads, clip):
    # How many threads it takes is not to be chosen from Python: run.py pins the process.
    import cv2
    import mediapipe

    pose = mediapipe.solutions.pose.Pose(static_image_mode=False, model_complexity=1)

    def step(bgr, _time):
        return pose.process(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)).pose_world_landmarks

    return step


if __name__ == "__main__":
    harness.main("MediaPipe Pose 0.10.21 (full)", start)
